"""The database behind the store: opening, migrating, transactions, and errors that say what to do."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, StatementError

from luthier.errors import StoreError
from luthier.store._files import disk_full, to_json
from luthier.store._tables import HEAD, VERSION_TABLE

DIALECTS = ("sqlite", "postgresql")
WAIT_SECONDS = 30.0  # how long one process waits for another's transaction
NO_ROOM = 1 << 20  # bytes free below which SQLite's "disk I/O error" means a full disk


class Database:
    """A database whose schema is this code's. Transactions are short; any thread may use it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Database:
        """Connects and brings the schema up to date.

        Raises:
            StoreError: not a usable URL, not a database, unreachable, read-only, or written by a newer luthier.
            DiskFullError: no room for the database.
        """
        database = cls(_engine(_checked(url)))
        with ExitStack() as undo:
            undo.callback(database.close)
            database._migrate()
            undo.pop_all()
        return database

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()

    @property
    def place(self) -> str:
        """The database for error messages: its file, or its URL without the password."""
        url = self.engine.url
        return (url.database or "") if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one consistent state."""
        with self._translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed to the disk when the block ends well, and leaves no trace otherwise."""
        with self._translated(), self.engine.connect().execution_options(luthier_writes=True) as connection:
            yield connection
            connection.commit()

    def _migrate(self) -> None:
        with self.read() as connection:
            if _revision(connection) == HEAD:
                return
        with self.write() as connection:  # looks again: another process may have been first
            revision = _revision(connection)
            if revision != HEAD:
                _upgrade(connection, revision, self.place)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StatementError as error:
            if isinstance(error.orig, StoreError):  # raised while a value was turned into JSON
                raise error.orig from None
            raise self._explained(error.orig or error) from error
        except json.JSONDecodeError as error:  # of a value that was cut off or written over
            raise self._damaged(error) from error

    def _explained(self, error: BaseException) -> StoreError:
        """What an error of the database driver means for the user."""
        place, code = self.place, _sqlite_code(error)
        folder = Path(place).parent
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room(folder)):
            return disk_full(Path(place))
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return self._damaged(error)
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return StoreError(
                f"{place} cannot be opened for writing: {error}",
                why="what luthier finds is recorded there",
                fix=f"make the folder writable (chmod -R u+w {folder}) or copy the task to a folder of yours",
            )
        if code == sqlite3.SQLITE_BUSY:
            return StoreError(
                f"{place} has been in use by another program for {WAIT_SECONDS:.0f} seconds",
                fix=f"end the program that holds it (fuser {place}) and try again",
            )
        return StoreError(
            f"the database {place} refused: {error}",
            fix="check that it is running and that you may read and write it, then run the same command again",
        )

    def _damaged(self, error: BaseException) -> StoreError:
        return StoreError(
            f"{self.place} is damaged: {error}",
            why="another program or the disk changed it; luthier writes it in transactions only",
            fix="restore it from a copy; "
            f"or rescue what is readable (sqlite3 {self.place} .recover | sqlite3 rescued.db); "
            f"or start anew (mv {self.place} {self.place}.broken)",
        )


def insert_absent(connection: Connection) -> Any:
    """The dialect's `insert`, whose statements know `on_conflict_do_nothing`."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise _bad_url("the database URL cannot be understood") from error
    if parsed.get_backend_name() not in DIALECTS:
        raise _bad_url(f"luthier cannot keep its records in {parsed.get_backend_name()}")
    return parsed


def _bad_url(what: str) -> StoreError:
    return StoreError(what, fix="give sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, or no URL")


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() != "sqlite":
            return create_engine(url, json_serializer=_json, pool_pre_ping=True)
        engine = create_engine(url, json_serializer=_json, connect_args={"timeout": WAIT_SECONDS})
    except ModuleNotFoundError as error:
        raise StoreError(
            f"the driver for this database is not installed: {error.name}", fix=f"pip install {error.name}"
        ) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _json(value: Any) -> str:
    return to_json(value, "the value cannot be recorded")


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    """Readers beside one writer (WAL); a committed transaction survives a loss of power (synchronous FULL)."""
    connection.isolation_level = None  # the driver would begin transactions late, and none for migrations
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=FULL").close()


def _begin(connection: Connection) -> None:
    # A writer asks for the write lock at once: with a late request two of them could only fail, not wait.
    writes = connection.get_execution_options().get("luthier_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()


def _upgrade(connection: Connection, revision: str | None, place: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "luthier.store:_migrations")
    config.set_main_option("path_separator", "os")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreError(
            f"{place} was written by a newer luthier (schema {revision}; this one knows up to {HEAD})",
            why="reading it with an older version could lose what the newer one recorded",
            fix="pip install -U luthier",
        )
    command.upgrade(config, "head")


def _sqlite_code(error: BaseException) -> int | None:
    """The primary SQLite result code, None for other databases."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _no_room(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < NO_ROOM
