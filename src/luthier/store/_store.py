"""The store of one task: a database and a folder of artefacts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, delete, func, insert, select

from luthier.errors import ReleaseError, StoreError
from luthier.store._database import Database, insert_absent
from luthier.store._files import clean_folder, writing
from luthier.store._lock import WriterLock
from luthier.store._rows import ReleaseRow, TrafficRow
from luthier.store._tables import AliasMove, Opening, Served, StoredAnswer, StoredDocument, StoredRelease

FOLDER = ".luthier"
KEYS_AT_ONCE = 500  # below every database's limit of variables in a statement
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


class Store:
    """What is recorded about one task. Open it with `Store.open`; use it as a context manager or call `close`.

    Every method that records has committed to the disk when it returns. All raise `DiskFullError` where no room is
    left and `StoreError` where the database is damaged or cannot be reached; nothing is half recorded then.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self._database = database
        self._lock = WriterLock(folder)

    @classmethod
    def open(cls, folder: Path, url: str | None = None) -> Store:
        """Opens, or makes, the store of the task in `folder`.

        Args:
            folder: the task's folder; `<folder>/.luthier` is made.
            url: a database instead of the SQLite file `.luthier/luthier.db`; PostgreSQL, one database per task.

        Raises:
            StoreError: not writable, damaged, or written by a newer luthier.
            DiskFullError: no room.
        """
        home = folder.resolve() / FOLDER
        with writing(home):
            home.mkdir(parents=True, exist_ok=True)
        file = URL.create("sqlite", database=str(home / "luthier.db"))
        return cls(home, Database.open(url or file.render_as_string()))

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def lock(self, doing: str = "") -> Iterator[None]:
        """Holds the folder as its only writer; the operating system frees it when the process dies.

        Args:
            doing: what for, as another process's user will read it; by default the command line.

        Raises:
            BusyError: another process or thread holds it (pid and what it does are named).
        """
        with self._lock.hold(doing) as newly:
            if newly:
                self._clean()
            yield

    # Answers

    def get_answers(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The recorded answers of those keys that have one."""
        found: dict[str, dict[str, Any]] = {}
        with self._database.read() as connection:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[start : start + KEYS_AT_ONCE]
                rows = connection.execute(
                    select(StoredAnswer.key, StoredAnswer.value).where(StoredAnswer.key.in_(some))
                )
                found.update((row.key, row.value) for row in rows)
        return found

    def put_answers(self, items: Mapping[str, Mapping[str, Any]], model: str | None = None) -> None:
        """Records answers in one transaction. A key that has an answer keeps it: it is the hash of the question.

        `model` is the identity of the model that gave them.
        """
        if not items:
            return
        now = datetime.now(UTC)
        rows = [{"key": key, "value": dict(value), "created": now, "model": model} for key, value in items.items()]
        with self._database.write() as connection:
            connection.execute(insert_absent(connection)(StoredAnswer).on_conflict_do_nothing(), rows)

    def answers_of(self, model: str) -> Iterator[dict[str, Any]]:
        """All recorded answers of a model, by its identity."""
        with self._database.read() as connection:
            for row in connection.execute(select(StoredAnswer.value).where(StoredAnswer.model == model)):
                yield row.value

    # Documents

    def put_document(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        """Records a JSON value; it replaces the one of the same kind and key and becomes the latest of its kind."""
        with self._database.write() as connection:
            same = (StoredDocument.kind == kind) & (StoredDocument.key == key)
            connection.execute(delete(StoredDocument).where(same))
            row = {"kind": kind, "key": key, "value": dict(value), "created": datetime.now(UTC)}
            connection.execute(insert(StoredDocument).values(row))

    def get_document(self, kind: str, key: str) -> dict[str, Any] | None:
        """The value of a kind and key, None if there is none."""
        query = select(StoredDocument.value).where(StoredDocument.kind == kind, StoredDocument.key == key)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def latest_document(self, kind: str) -> tuple[str, dict[str, Any]] | None:
        """Key and value that were put last, None if there are none of that kind."""
        query = select(StoredDocument.key, StoredDocument.value).where(StoredDocument.kind == kind)
        with self._database.read() as connection:
            row = connection.execute(query.order_by(StoredDocument.id.desc()).limit(1)).one_or_none()
        return None if row is None else (row.key, row.value)

    def documents(self, kind: str) -> list[tuple[str, datetime, dict[str, Any]]]:
        """(key, when put in UTC, value) of all of a kind, the latest last."""
        query = select(StoredDocument.key, StoredDocument.created, StoredDocument.value)
        with self._database.read() as connection:
            rows = connection.execute(query.where(StoredDocument.kind == kind).order_by(StoredDocument.id))
            return [(row.key, row.created, row.value) for row in rows]

    def open_test(self, split_hash: str, ladder_hash: str) -> int:
        """Records that the test cases of a split are opened with a ladder.

        Returns the number of different ladders that have opened this split, this one included.
        """
        row = {"split_hash": split_hash, "ladder_hash": ladder_hash, "created": datetime.now(UTC)}
        query = select(func.count()).select_from(Opening).where(Opening.split_hash == split_hash)
        with self._database.write() as connection:
            connection.execute(insert_absent(connection)(Opening).values(row).on_conflict_do_nothing())
            return connection.execute(query).scalar_one()

    # Artefacts

    def artefact_path(self, kind: str, key: str) -> Path:
        """The folder `.luthier/<kind>/<key>` of an artefact; it exists once something was published there.

        Build it with `new_folder` or `replace_folder`.

        Raises:
            StoreError: kind or key is not a plain name.
        """
        for name in (kind, key):
            if not SAFE_NAME.fullmatch(name):
                raise StoreError(
                    f"{name!r} cannot name an artefact",
                    why="it becomes a folder name on every system",
                    fix="use 1 to 120 letters, digits, '.', '_' or '-', beginning with a letter or digit",
                )
        return self.folder / kind / key

    # Releases

    def add_release(self, task: str, folder: str, lock: Mapping[str, Any]) -> int:
        """Records a release and returns its version: 1, 2, … per task, never used twice."""
        with self._database.write() as connection:
            last = select(func.max(StoredRelease.version)).where(StoredRelease.task == task)
            version = (connection.execute(last).scalar_one() or 0) + 1
            row = {"task": task, "version": version, "folder": folder, "lock": dict(lock), "created": datetime.now(UTC)}
            connection.execute(insert(StoredRelease).values(row))
        return version

    def releases(self, task: str) -> list[ReleaseRow]:
        """All releases of a task, oldest first."""
        columns = (StoredRelease.version, StoredRelease.created, StoredRelease.folder, StoredRelease.lock)
        query = select(*columns).where(StoredRelease.task == task).order_by(StoredRelease.version)
        with self._database.read() as connection:
            return [ReleaseRow(*row) for row in connection.execute(query)]

    def release(self, task: str, version: int) -> ReleaseRow:
        """One release of a task.

        Raises:
            ReleaseError: there is no such version; those that exist are named.
        """
        rows = {row.version: row for row in self.releases(task)}
        if version not in rows:
            there = ", ".join(map(str, rows)) or "none"
            raise ReleaseError(
                f"task {task} has no release {version} (there is: {there})",
                fix="luthier release list" if rows else "make one: luthier release",
            )
        return rows[version]

    def set_alias(self, task: str, alias: str, version: int) -> None:
        """Points an alias (such as `production`) at a version; where it pointed before stays in its history.

        Raises:
            ReleaseError: there is no such version.
        """
        self.release(task, version)
        row = {"task": task, "alias": alias, "version": version, "created": datetime.now(UTC)}
        with self._database.write() as connection:
            connection.execute(insert(AliasMove).values(row))

    def alias(self, task: str, alias: str) -> int | None:
        """The version that an alias points at, None if it was never set."""
        history = self.alias_history(task, alias)
        return history[-1][1] if history else None

    def alias_history(self, task: str, alias: str) -> list[tuple[datetime, int]]:
        """(when in UTC, version) of every move of an alias, oldest first."""
        query = select(AliasMove.created, AliasMove.version).where(AliasMove.task == task, AliasMove.alias == alias)
        with self._database.read() as connection:
            return [(row.created, row.version) for row in connection.execute(query.order_by(AliasMove.id))]

    # Traffic

    def log_traffic(
        self,
        release: int,
        request: Mapping[str, Any],
        answer: str,
        prompt_tokens: int,
        completion_tokens: int,
        seconds: float,
    ) -> int:
        """Records a request that was served and returns its number. Any thread may call it."""
        row = {
            "release": release,
            "request": dict(request),
            "answer": answer,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "seconds": seconds,
            "created": datetime.now(UTC),
        }
        with self._database.write() as connection:
            return connection.execute(insert(Served).values(row).returning(Served.id)).scalar_one()

    def traffic(self, limit: int | None = None) -> list[TrafficRow]:
        """The last `limit` requests that were served (all by default), oldest first."""
        columns = (
            Served.id,
            Served.created,
            Served.release,
            Served.request,
            Served.answer,
            Served.prompt_tokens,
            Served.completion_tokens,
            Served.seconds,
        )
        query = select(*columns).order_by(Served.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [TrafficRow(*row) for row in connection.execute(query)][::-1]

    def _clean(self) -> None:
        """Undoes what killed processes left half done; only the one writer may."""
        with writing(self.folder):
            for folder in (self.folder, *(p for p in self.folder.iterdir() if p.is_dir() and not p.is_symlink())):
                clean_folder(folder)
