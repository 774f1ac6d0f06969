"""Opening the database, and its two kinds of access: a reading connection and a writing transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from uici.model.errors import Problem, ProblemKind
from uici.store import schema
from uici.store.current import CURRENT
from uici.store.migrations import StateSchema, bring_up_to_date
from uici.store.sqlite import SqliteBackend
from uici.store.turns import Turns

if TYPE_CHECKING:
    from uici.store.postgres import PostgresBackend

_COMING_BACK_SECONDS = 5.0
_UNUSABLE = {
    False: "check that the folder exists, is writable, is not full, and that the file is a SQLite database",
    True: "check that the server runs and is reached, and that the user may create tables in the database",
}


class Store:
    """The database. What is committed survives a crash; there is one writer at a time, in all processes together."""

    def __init__(self, url: str) -> None:
        """Open the database at `url` without touching it yet. Raises Problem for a URL that cannot be used."""
        self._turns = Turns()
        self._backend = _backend(parsed_url(url), self._turns)
        self.shared = self._backend.shared
        """Whether several processes may work on it at the same time."""
        self.path = self._backend.path
        """The state's file, where it is one."""
        self.place = self._backend.place
        """Where the state is, for people; without a password."""
        self.engine = self._backend.writing

    def migrate(self, to: StateSchema = CURRENT) -> None:
        """Create what is missing, or bring an older state up to date. Raises Problem when it cannot be used."""
        try:
            self._backend.prepare()
            bring_up_to_date(self._backend.reading, self.engine, to)
        except (OSError, sqlalchemy.exc.DatabaseError) as error:
            raise self.unusable(error) from error

    def unusable(self, error: Exception) -> Problem:
        """What people are told when the state cannot be used at a start."""
        return Problem(
            ProblemKind.UNAVAILABLE,
            "state_unusable",
            f"the state cannot be opened or written: {_cause(error)}",
            where=self.place,
            hint=_UNUSABLE[self.shared],
        )

    @contextmanager
    def write(self, *, urgent: bool = False) -> Iterator[Connection]:
        """One transaction that no other writer interrupts, in this process or another; commits unless the block raises.

        An `urgent` one goes before all others of this process that wait. Raises StateGoneError.
        """
        with self._turns.turn(urgent=urgent):
            self._backend.check()
            with self.engine.begin() as connection:
                self._backend.begin(connection)
                yield connection

    @contextmanager
    def write_one(self) -> Iterator[Connection]:
        """A transaction for one statement that depends on nothing read before, such as a sign of life.

        Where the database allows it, it waits for no other writer.
        """
        if not self.shared:
            with self.write(urgent=True) as connection:
                yield connection
            return
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees what is committed and never blocks a writer."""
        with self._backend.reading.connect() as connection:
            yield connection

    def engine_for_runs(self) -> Engine:
        """A pool of connections for the durable engine, which manages its transactions itself and disposes of it."""
        return self._backend.engine_for_runs()

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
            free = self._backend.free_bytes()
        except (OSError, SQLAlchemyError) as error:
            return _cause(error)
        if free is not None and free < least_free_bytes:
            return f"the disk is full: {free} bytes are left where the state lies, {least_free_bytes} are needed"
        return None

    def free_bytes(self) -> int | None:
        """The room that is left where the state lies; None where that is not to be seen from here. Raises OSError."""
        return self._backend.free_bytes()

    def give_back(self) -> bool:
        """Give some of the room that deleted rows have left back, where that is ours to do; whether there is more."""
        with self._turns.turn():
            return self._backend.give_back()

    def close(self) -> None:
        """Close all connections."""
        close_pool(self.engine)
        close_pool(self._backend.reading)


def parsed_url(url: str) -> sqlalchemy.URL:
    """A state's URL. Raises Problem."""
    try:
        return sqlalchemy.make_url(url)
    except (ValueError, sqlalchemy.exc.ArgumentError):
        # What is wrong with it is not told: it may hold a password.
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "unsupported_state",
            "the state is not a URL that can be read",
            where="platform.yml: state",
            allowed=(
                "sqlite:///path/to/uici.db",
                "postgresql://user@host:5432/database",
                "postgresql://user@/database?host=one:5432&host=two:5432&target_session_attrs=read-write",
            ),
            hint="several hosts stand in the query, each with its port",
        ) from None


def close_pool(engine: Engine) -> None:
    """Close all connections of a pool once those in use have come back; one that is kept for seconds is left open."""
    until = time.monotonic() + _COMING_BACK_SECONDS
    while isinstance(engine.pool, QueuePool) and engine.pool.checkedout() and time.monotonic() < until:
        time.sleep(0.01)
    engine.dispose()


def _backend(url: sqlalchemy.URL, turns: Turns) -> SqliteBackend | PostgresBackend:
    name = url.get_backend_name()
    if name == "sqlite":
        return SqliteBackend(url, turns)
    if name == "postgresql":
        from uici.store.postgres import PostgresBackend  # here, because its driver takes time to load

        return PostgresBackend(url)
    raise Problem(
        ProblemKind.UNPROCESSABLE,
        "unsupported_state",
        f"state: {name} is not supported",
        where="platform.yml: state",
        allowed=("sqlite:///path/to/uici.db", "postgresql://user@host/database"),
        hint="SQLite for one process, PostgreSQL for several",
    )


def _cause(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error)
