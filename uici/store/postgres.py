"""State in a PostgreSQL database, which several processes may share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import psycopg
import sqlalchemy
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, event

from uici.model.errors import Problem, ProblemKind
from uici.store.json import json_text

_Result = TypeVar("_Result")

WRITERS = 0x75696369
"""The advisory lock of whoever writes: the letters `uici`."""

_INTERVAL_SECONDS = 0.1
_POOL_OF_WRITERS, _POOL_OF_READERS, _POOL_OF_RUNS = 2, 10, 10
CONNECTIONS = 2 * (_POOL_OF_WRITERS + _POOL_OF_READERS + _POOL_OF_RUNS)
"""What one process opens at the most; in rest it keeps half of them."""

STALLED_MILLISECONDS = 5_000
"""How long a transaction may stand still before the server ends it: a writer that is stopped or cut off from the
database in its midst keeps all others waiting for so long."""

# Parameters of libpq (https://www.postgresql.org/docs/current/libpq-connect.html) and settings of the session. A peer
# that does not answer is noticed after ten seconds; without them a lost connection hangs for two hours.
_ENCODING = "UTF8"
SILENT_SECONDS = 35.0
"""How long the server may leave a statement without an answer. It ends one after 30 seconds itself, so that one which
says nothing for longer hangs: its connection is cut, and whoever waited learns that the state cannot be reached."""

_CONNECTING = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "uici",
}
_SETTINGS = {"statement_timeout": "30000", "idle_in_transaction_session_timeout": str(STALLED_MILLISECONDS)}

# A prepared statement keeps the plan that was made while its tables were small, until they are next analysed: by then
# one that scans them takes milliseconds, in which nobody else can write. What writers look for has nearly always an
# index, so such plans are their last resort; what is read is planned anew.
# https://www.postgresql.org/docs/current/runtime-config-query.html
_WRITING = {**_SETTINGS, "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
_READING = {**_SETTINGS, "plan_cache_mode": "force_custom_plan"}


class PostgresBackend:
    """A committed write survives a crash of the server; with a synchronous standby also the loss of its machine."""

    shared = True
    path: None = None

    def __init__(self, url: sqlalchemy.URL) -> None:
        """Raises Problem for a URL that holds a password, or that names no database."""
        if url.password is not None:
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "password_in_state",
                "the state's URL holds a password, which everybody sees who may read the file or the process list",
                where="platform.yml: state",
                allowed=("postgresql://user@host:5432/database",),
                hint="leave it out of the URL and give it in PGPASSWORD or in the file that PGPASSFILE names",
            )
        if not url.database:
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "unsupported_state",
                "the state's URL names no database",
                where="platform.yml: state",
                allowed=("postgresql://user@host:5432/database",),
            )
        self.url = url.set(drivername="postgresql+psycopg")
        self.place = url.set(drivername="postgresql").render_as_string(hide_password=True)
        self.writing = _engine(self.url, _POOL_OF_WRITERS, _WRITING)
        # Each statement sees what is committed by then, and costs no round trip to begin and end a transaction.
        self.reading = _engine(self.url, _POOL_OF_READERS, _READING, isolation_level="AUTOCOMMIT")

    def prepare(self) -> None:
        """Nothing: the database is somebody else's to make."""

    def begin(self, connection: Connection) -> None:
        """Wait until no other writer is at work, in any process; the lock ends with the transaction."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")

    def check(self) -> None:
        """Nothing: a connection leads to the database that it was opened to."""

    def engine_for_runs(self) -> Engine:
        """A pool for the durable engine, whose tables nobody else writes."""
        return _engine(self.url, _POOL_OF_RUNS, _WRITING)

    def give_back(self) -> bool:
        """False: the server's autovacuum does it."""
        return False

    def free_bytes(self) -> int | None:
        """None: the room on the server's disk is not to be seen from here."""
        return None


class _Connection(psycopg.Connection[Any]):
    """A connection that is not waited for without end: nothing else notices a server that hangs."""

    patient = False
    """Whether it is, all the same; a server that is gone is noticed by TCP."""

    def wait(self, gen: PQGen[_Result], interval: float = _INTERVAL_SECONDS, timeout: float | None = None) -> _Result:
        """Drive what is under way. Raises OperationalError where nothing comes of it, and closes the connection."""
        if self.patient:
            return super().wait(gen, interval, timeout)
        seconds = SILENT_SECONDS if timeout is None else timeout
        until = time.monotonic() + seconds
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.OperationalError as error:
            if timeout is not None or time.monotonic() < until:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server has not answered for {seconds:g} seconds") from error


@contextmanager
def as_long_as_it_takes(connection: Connection) -> Iterator[None]:
    """The transaction under way may take its time: neither the server nor this side ends a statement or a pause."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    raw = cast(_Connection, connection.connection.driver_connection)
    raw.patient = True
    try:
        yield
    finally:
        raw.patient = False


def _engine(url: sqlalchemy.URL, pool_size: int, settings: dict[str, str], **more: Any) -> Engine:
    engine = sqlalchemy.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        # A connection may have been cut since it was last used: the server was restarted, or another took its place.
        pool_pre_ping=True,
        connect_args={**_CONNECTING, "options": " ".join(f"-c {name}={value}" for name, value in settings.items())},
        hide_parameters=True,  # an error or a log line of the database must not hold what a plan is carried out with
        json_serializer=json_text,
        **more,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: object, arguments: Any, parameters: Any) -> psycopg.Connection[Any]:
        made = _Connection.connect(*arguments, **parameters)
        encoding = made.info.parameter_status("server_encoding")
        if encoding != _ENCODING:
            made.close()
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "unsupported_state",
                f"the database's encoding is {encoding}, which does not hold every text",
                where="platform.yml: state",
                allowed=(_ENCODING,),
                hint="make another: CREATE DATABASE uici TEMPLATE template0 ENCODING 'UTF8'",
            )
        return made

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        # "off" acknowledges what is not on disk; what is stronger than "on" stays as the server has it.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
        connection.commit()

    return engine
