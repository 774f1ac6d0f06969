"""Opening the database, and its two kinds of access: a reading connection and a writing transaction."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic_core
import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from uici.model.base import JsonValue
from uici.model.errors import Problem, ProblemKind
from uici.store import schema
from uici.store.current import CURRENT
from uici.store.migrations import StateSchema, bring_up_to_date
from uici.store.turns import Turns, connection_in_turn

_BUSY_MILLISECONDS = 30_000


class StateGoneError(SQLAlchemyError):
    """The state file was deleted or replaced under us: what is written now would be gone at the next start."""


class Store:
    """The database. A committed write survives a crash and a power cut (`synchronous=FULL`)."""

    def __init__(self, url: str, *, pool_size: int = 40) -> None:
        """Open the database at `url` without touching it yet.

        Raises Problem for a URL that this version cannot use or a folder that is missing.
        """
        self.url = sqlalchemy.make_url(url)
        if self.url.get_backend_name() != "sqlite":
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "unsupported_state",
                f"state: {self.url.get_backend_name()} is not supported by this version",
                where="platform.yml: state",
                allowed=("sqlite:///path/to/uici.db",),
                hint="one process on SQLite is what this version runs; use a sqlite URL",
            )
        if not self.url.database or self.url.database == ":memory:":
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "unsupported_state",
                "state in memory would be lost at the first crash",
                where="platform.yml: state",
                allowed=("sqlite:///path/to/uici.db",),
                hint="give a file",
            )
        self.path = Path(self.url.database).absolute()
        self._turns = Turns()
        self._file: tuple[int, int] | None = None
        self.engine = _engine(self.url, pool_size, isolation=None, begin="BEGIN IMMEDIATE")
        self._reading = _engine(self.url, pool_size, isolation=None)

    def migrate(self, to: StateSchema = CURRENT) -> None:
        """Create what is missing, or bring an older state up to date. Raises Problem when it cannot be used."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.touch(mode=0o600)
            bring_up_to_date(self._reading, self.engine, to)
        except (OSError, sqlalchemy.exc.DatabaseError) as error:
            raise Problem(
                ProblemKind.UNAVAILABLE,
                "state_unusable",
                f"the state file cannot be opened or written: {_cause(error)}",
                where=str(self.path),
                hint="check that the folder exists, is writable, is not full, and that the file is a SQLite database",
            ) from error

    @contextmanager
    def write(self, *, urgent: bool = False) -> Iterator[Connection]:
        """One transaction that holds the write lock from its first statement; commits unless the block raises.

        An `urgent` one goes before all others of this process that wait. Raises StateGoneError.
        """
        with self._turns.turn(urgent=urgent):
            self._check_file()
            with self.engine.begin() as connection:
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees what is committed and never blocks a writer."""
        with self._reading.connect() as connection:
            yield connection

    def engine_for_runs(self) -> Engine:
        """A second pool on the same file for the durable engine, which manages its transactions by itself.

        It waits in the same line as all other writers: else each would find the other's lock, and poll for it.
        """
        return _engine(self.url, 20, isolation="IMMEDIATE", factory=connection_in_turn(self._turns))

    def reachable(self, least_free_bytes: int = 0) -> str | None:
        """None when the database can be written, else what is wrong with it.

        A write of a few bytes finds room in what the file has already, so a full disk is looked for by itself.
        """
        try:
            with self.write() as connection:
                # As it is: the state may have a newer schema that we can work on.
                connection.execute(
                    schema.meta.update().where(schema.meta.c.name == "schema_version").values(value=schema.meta.c.value)
                )
            disk = os.statvfs(self.path.parent)
        except (OSError, SQLAlchemyError) as error:
            return _cause(error)
        free = disk.f_bavail * disk.f_frsize
        if free < least_free_bytes:
            return f"the disk is full: {free} bytes are left where the state lies, {least_free_bytes} are needed"
        return None

    def _check_file(self) -> None:
        try:
            now = self.path.stat()
        except OSError as error:
            raise StateGoneError(f"{self.path}: {error.strerror}; restart UICI to begin a new state") from None
        if self._file is None:
            self._file = (now.st_dev, now.st_ino)
        elif self._file != (now.st_dev, now.st_ino):
            raise StateGoneError(f"{self.path} was replaced by another file; restart UICI to use that one")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self._reading.dispose()


def _engine(
    url: sqlalchemy.URL,
    pool_size: int,
    *,
    isolation: str | None,
    begin: str | None = None,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> Engine:
    connecting = {"timeout": 30, "factory": factory}
    engine = sqlalchemy.create_engine(
        url, pool_size=pool_size, max_overflow=pool_size, connect_args=connecting, json_serializer=json_text
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        # With `None` the driver opens no transaction by itself; with a level it opens one before each write.
        connection.isolation_level = isolation
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    if begin:

        @event.listens_for(engine, "begin")
        def open_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine


def json_text(value: JsonValue) -> str:
    """A value of a JSON column as text, at a quarter of what `json.dumps` costs."""
    try:
        return pydantic_core.to_json(value).decode()
    except pydantic_core.PydanticSerializationError:
        return json.dumps(value)  # half a surrogate pair out of a platform's answer has no UTF-8, but an escape


def _cause(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error)
