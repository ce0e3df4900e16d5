"""The first tables: answers, documents, openings, releases, alias moves, traffic."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """To this revision."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "answers",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("created", moment, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.UniqueConstraint("kind", "key", name="one_document"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "openings",
        sa.Column("split_hash", sa.Text, primary_key=True),
        sa.Column("ladder_hash", sa.Text, primary_key=True),
        sa.Column("created", moment, nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("lock", sa.JSON, nullable=False),
        sa.Column("created", moment, nullable=False),
    )
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", moment, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("alias_moves_by_name", "alias_moves", ["task", "alias"])
    op.create_table(
        "traffic",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("created", moment, nullable=False),
        sqlite_autoincrement=True,
    )
