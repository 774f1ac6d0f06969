"""State in one SQLite file: one process, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from uici.model.errors import Problem, ProblemKind
from uici.store.json import json_text
from uici.store.turns import Turns, connection_in_turn

_BUSY_MILLISECONDS = 30_000
_INCREMENTAL = 2
_PAGES_AT_ONCE = 200
_PAGES_KEPT = 1000
_JOURNAL_BYTES = 67_108_864
_POOL = 40
_POOL_OF_RUNS = 20


class StateGoneError(SQLAlchemyError):
    """The state file was deleted or replaced under us: what is written now would be gone at the next start."""


class SqliteBackend:
    """A committed write survives a crash and a power cut (`synchronous=FULL`)."""

    shared = False

    def __init__(self, url: sqlalchemy.URL, turns: Turns) -> None:
        """Raises Problem for a state in memory."""
        if not url.database or url.database == ":memory:":
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "unsupported_state",
                "state in memory would be lost at the first crash",
                where="platform.yml: state",
                allowed=("sqlite:///path/to/uici.db", "postgresql://user@host/database"),
                hint="give a file",
            )
        self.url = url
        self.path = Path(url.database).absolute()
        self.place = str(self.path)
        self._turns = turns
        self._file: tuple[int, int] | None = None
        self.writing = _engine(url, _POOL, isolation=None, begin="BEGIN IMMEDIATE")
        self.reading = _engine(url, _POOL, isolation=None)

    def prepare(self) -> None:
        """Make the file, readable by its owner only. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.touch(mode=0o600)

    def begin(self, connection: Connection) -> None:
        """The transaction holds the write lock already: `BEGIN IMMEDIATE`."""

    def check(self) -> None:
        """Raises StateGoneError when the file is not the one of the first write any more."""
        try:
            now = self.path.stat()
        except OSError as error:
            raise StateGoneError(f"{self.path}: {error.strerror}; restart UICI to begin a new state") from None
        if self._file is None:
            self._file = (now.st_dev, now.st_ino)
        elif self._file != (now.st_dev, now.st_ino):
            raise StateGoneError(f"{self.path} was replaced by another file; restart UICI to use that one")

    def engine_for_runs(self) -> Engine:
        """A pool on the same file that waits in the same line as all other writers.

        Else each would find the other's lock, and poll for it.
        """
        return _engine(self.url, _POOL_OF_RUNS, isolation="IMMEDIATE", factory=connection_in_turn(self._turns))

    def give_back(self) -> bool:
        """Give some pages that hold nothing any more back to the file system; whether there are more to give.

        A part is kept for what comes next. A file of before schema 3 keeps them all: it would have to be written anew.
        """
        with self.reading.connect() as connection:
            here: Any = connection.connection.driver_connection
            pages, free, mode = (
                here.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "auto_vacuum")
            )
            if mode != _INCREMENTAL or free <= max(_PAGES_KEPT, pages // 5):
                return False
            # As a script: a single statement would be left after its first page.
            here.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            return True

    def free_bytes(self) -> int | None:
        """The room that is left where the state lies. Raises OSError."""
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize


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
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args=connecting,
        json_serializer=json_text,
        hide_parameters=True,  # an error or a log line of the database must not hold what a plan is carried out with
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        # With `None` the driver opens no transaction by itself; with a level it opens one before each write.
        connection.isolation_level = isolation
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        # Of a new file only: of another it changes nothing, and still waits for whoever writes. Measured: it costs
        # nothing that could be told from noise.
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # After much was written at once, the journal is cut off again when it begins anew.
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
        connection.execute("PRAGMA foreign_keys=ON")

    if begin:

        @event.listens_for(engine, "begin")
        def open_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine
