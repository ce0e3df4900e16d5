"""Alembic's entry: runs the migrations on the connection, and in the transaction, that the store hands over."""

from alembic import context

from luthier.store._tables import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # the store begins real transactions on SQLite too, so a killed migration leaves no trace
)
with context.begin_transaction():
    context.run_migrations()
