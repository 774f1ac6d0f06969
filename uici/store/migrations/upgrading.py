"""Bringing a state up to date."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, Text, inspect, select

from uici.model.errors import Problem, ProblemKind
from uici.store.copies import copy_database, copy_tables, private
from uici.store.inserting import insert_into
from uici.store.migrations.versions import Migration, StateSchema
from uici.store.postgres import WRITERS, as_long_as_it_takes
from uici.store.workers import beating

log = structlog.get_logger(__name__)

_VERSION, _COMPATIBLE = "schema_version", "compatible_from"
# By itself: what says which schema a state has must be readable by every version.
_meta = Table(
    "uici_meta", MetaData(), Column("name", String(64), primary_key=True), Column("value", Text, nullable=False)
)


def bring_up_to_date(reading: Engine, writing: Engine, to: StateSchema) -> None:
    """Make the tables of an empty state, or take an older one forwards; a state that can be used as it is, is left.

    Of several processes that come at once, one does it and the others wait. On SQLite transactions of `writing` begin
    with the lock for writing. Raises Problem for a state that this version cannot work on.
    """
    path = Path(writing.url.database or "").absolute() if writing.dialect.name == "sqlite" else None
    where = str(path or writing.url.render_as_string(hide_password=True))
    with reading.connect() as connection:
        found = version_of(connection)
    if found is not None and not _is_older(found, to, where):
        return
    with ExitStack() as held:
        if path is not None:
            held.enter_context(_locked(path.with_name(path.name + ".migrating")))
        connection = held.enter_context(writing.begin())
        if path is None:
            # To wait for another that migrates as well as to do it.
            held.enter_context(as_long_as_it_takes(connection))
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")
        found = version_of(connection)
        if found is None:
            to.metadata.create_all(connection)
            _record(connection, to)
        elif _is_older(found, to, where):
            _migrate(reading, connection, found, to, path, where)


def version_of(connection: Connection) -> tuple[int, int] | None:
    """The schema of a state, and the oldest whose versions of UICI can work on it; None for a state without tables."""
    if not inspect(connection).has_table(_meta.name):
        return None
    return read_versions({row.name: row.value for row in connection.execute(select(_meta))})


def read_versions(rows: Mapping[str, str]) -> tuple[int, int] | None:
    """As `version_of`, from the rows of the table that holds it."""
    if _VERSION not in rows:
        return None
    return int(rows[_VERSION]), int(rows.get(_COMPATIBLE, rows[_VERSION]))


def refuse_newer(found: tuple[int, int], to: StateSchema, where: str) -> None:
    """Raises Problem for a schema that is newer than ours, and not one that ours is part of."""
    version, compatible_from = found
    if version <= to.version or compatible_from <= to.version:
        return
    raise Problem(
        ProblemKind.UNPROCESSABLE,
        "state_is_newer",
        f"the state has schema {version}, on which versions of UICI with schema {compatible_from} or newer can work; "
        f"this one has {to.version}",
        where=where,
        hint="start the newer version of uici again; or give this one another state, or the backup that the newer "
        "version made before it changed this one",
    )


def _is_older(found: tuple[int, int], to: StateSchema, where: str) -> bool:
    """Whether it must be migrated. Raises Problem as `refuse_newer`."""
    refuse_newer(found, to, where)
    return found[0] < to.version


def _migrate(
    reading: Engine, connection: Connection, found: tuple[int, int], to: StateSchema, path: Path | None, where: str
) -> None:
    way = to.way_from(found[0])
    if not way:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "state_is_older",
            f"the state has schema {found[0]}, and there is no way from it to {to.version}",
            where=where,
            hint="start the older version of uici again, or give another state",
        )
    # Here, because a state is seldom older: who starts with one of today need not load it.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    with _alone(reading, path, way):
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        if path is not None:
            backup = path.with_name(f"{path.name}.schema{found[0]}-{stamp}.backup")
            copy_database(path, backup)
            kept = str(backup)
        else:
            kept = f"uici_schema{found[0]}_{stamp.lower()}"
            copy_tables(connection, kept)
        operations = Operations(MigrationContext.configure(connection))
        for migration in way:
            migration.upgrade(operations)
        _record(connection, to)
        log.info("state_migrated", state=where, schema=to.version, before=found[0], backup=kept)


def _record(connection: Connection, to: StateSchema) -> None:
    for name, value in ((_VERSION, to.version), (_COMPATIBLE, to.compatible_from)):
        row = insert_into(connection, _meta).values(name=name, value=str(value))
        connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": str(value)}))


@contextmanager
def _alone(reading: Engine, path: Path | None, way: tuple[Migration, ...]) -> Iterator[None]:
    """While the block runs no UICI begins to work on a state that one process has alone. Raises Problem when one is at
    work already, and could not go on afterwards.
    """
    bearable = all(migration.additive for migration in way)
    hint = "stop every older one first, then start this version again"
    if path is None:
        alive = [] if bearable else beating(reading)
        if alive:
            raise _in_use(f"{', '.join(alive)} of an older version", way, str(reading.url.database), hint)
        yield
        return
    with open(path.with_name(path.name + ".lock"), "a+", opener=private) as lease:
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not bearable:
                raise _in_use("an older UICI", way, str(path), hint) from None
        yield


def _in_use(who: str, way: tuple[Migration, ...], where: str, hint: str) -> Problem:
    detail = f"{who} works on this state, and could not go on with schema {way[-1].to}"
    return Problem(ProblemKind.CONFLICT, "state_in_use", detail, where=where, hint=hint)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for the lock file; the kernel drops the lock when its holder dies."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
