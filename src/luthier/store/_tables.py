"""The tables, as the newest migration leaves them. Everything is added, nothing is changed in place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Double, Index, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

HEAD = "0002"  # the newest migration; a test compares it with the scripts
VERSION_TABLE = "luthier_schema"


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite has no time zones: there the zone is dropped on writing and added on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: UTC; naive where the database knows no zones."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables of luthier."""


class StoredAnswer(Base):
    """An answer of a model by the hash of everything it depends on; `model` is the model's identity, where known."""

    __tablename__ = "answers"
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    model: Mapped[str | None] = mapped_column(Text, index=True)


class StoredDocument(Base):
    """A JSON value by kind and key; the greatest `id` of a kind was put last."""

    __tablename__ = "documents"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (UniqueConstraint("kind", "key", name="one_document"), {"sqlite_autoincrement": True})


class Opening(Base):
    """The test cases of a split were opened with a frozen ladder."""

    __tablename__ = "openings"
    split_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    ladder_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class StoredRelease(Base):
    """A release of a task; versions count from 1 per task."""

    __tablename__ = "releases"
    task: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    folder: Mapped[str] = mapped_column(Text)
    lock: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(UtcDateTime)


class AliasMove(Base):
    """An alias was pointed at a version; the greatest `id` is where it points now."""

    __tablename__ = "alias_moves"
    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(Text)
    alias: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = (Index("alias_moves_by_name", "task", "alias"), {"sqlite_autoincrement": True})


class Served(Base):
    """A request that was served and its answer. The answer is JSON text: it may hold what a text column refuses."""

    __tablename__ = "traffic"
    id: Mapped[int] = mapped_column(primary_key=True)
    release: Mapped[int]
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    answer: Mapped[str] = mapped_column(JSON)
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    seconds: Mapped[float] = mapped_column(Double)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    __table_args__ = ({"sqlite_autoincrement": True},)
