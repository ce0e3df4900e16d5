"""Answers know which model gave them, so that what a hosted one has cost can be added up."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """To this revision."""
    op.add_column("answers", sa.Column("model", sa.Text, nullable=True))
    op.create_index("ix_answers_model", "answers", ["model"])
