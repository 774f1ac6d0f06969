"""Backups of a state, and putting one back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import sqlalchemy
from sqlalchemy import select

from uici.bootstrap.application import open_state, site_of, state_of
from uici.events.log import EventLog
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.ports import Clock
from uici.runs.lease import Lease
from uici.runs.restored import BACKED_UP_AT, RESTORED, settle_restored
from uici.runs.retaining import Retention
from uici.store.clock import ServiceClock
from uici.store.copies import check_database, copy_database
from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.dumps import check_dump, dump, put_back, versions_in
from uici.store.inserting import insert_into
from uici.store.migrations import read_versions, refuse_newer, version_of
from uici.store.schema import meta
from uici.store.times import utc_text
from uici.store.workers import beating


def back_up(config: Path | None, state: str | None, file: Path) -> JsonObject:
    """Copy the state, which may be in use, to a file that only its owner may read. Raises Problem."""
    file = file.absolute()
    with open_state(config, state) as (store, _):
        clock = ServiceClock()
        clock.follow(store)
        return back_up_store(store, file, clock)


def back_up_store(store: Store, file: Path, clock: Clock) -> JsonObject:
    """As `back_up`, of a state that is open."""
    if file.exists():
        raise Problem(
            ProblemKind.CONFLICT, "file_exists", "the file is there already", where=str(file), hint="give another name"
        )
    at = utc_text(clock.now())
    with store.write() as connection:
        row = insert_into(connection, meta).values(name=BACKED_UP_AT, value=at)
        connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": at}))
    # Under its name there is only ever a whole one.
    part = file.with_name(file.name + ".part")
    part.unlink(missing_ok=True)
    try:
        _copy(store, part)
        os.rename(part, file)
    finally:
        part.unlink(missing_ok=True)
    return {"file": str(file), "bytes": file.stat().st_size, "of": at, "schema": CURRENT.version, "state": store.place}


def _copy(store: Store, file: Path) -> None:
    if store.path is not None:
        copy_database(store.path, file)
        return
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    dump(store.place, file)


def restore(config: Path | None, state: str | None, file: Path) -> JsonObject:
    """Put a backup in the place of a state that nobody works on. Raises Problem, and has changed nothing then."""
    url = state_of(config, state)
    file = file.absolute()
    if not file.is_file():
        raise Problem(ProblemKind.NOT_FOUND, "no_such_file", "there is no such file", where=str(file))
    store = Store(url)
    try:
        with _alone(store):
            clock = ServiceClock()
            clock.follow(store)
            putting_back = _put_back_file if store.path is not None else _put_back_dump
            kept = putting_back(store, file, clock.now())
            store.close()
            store = Store(url)
            store.migrate()
            escalated = settle_restored(store, EventLog(store, clock), clock)
            with store.read() as connection:
                of = connection.execute(select(meta.c.value).where(meta.c.name == BACKED_UP_AT)).scalar()
    finally:
        store.close()
    return {"state": store.place, "backup_of": of, "replaced": str(kept) if kept else None, "escalated_runs": escalated}


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """While no UICI works on the state, and none can begin to where one process has it alone. Raises Problem."""
    if store.path is not None:
        store.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lease = Lease(store)
    lease.take()
    try:
        if store.shared:
            alive = beating(store.engine)
            if alive:
                raise Problem(
                    ProblemKind.CONFLICT,
                    "state_in_use",
                    f"a UICI works on this state: {', '.join(alive)}",
                    where=store.place,
                    hint="stop every replica first",
                )
        yield
    finally:
        lease.drop()


def _put_back_file(store: Store, file: Path, now: datetime) -> Path | None:
    path = store.path
    if path is None:
        raise ValueError(f"{store.place} is no file")
    check_database(file)
    engine = sqlalchemy.create_engine(f"sqlite:///file:{file}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            _check_version(version_of(connection), file)
    finally:
        engine.dispose()
    kept = None
    if path.exists() and path.stat().st_size:
        kept = path.with_name(f"{path.name}.replaced-{now:%Y%m%dT%H%M%S%fZ}.backup")
        copy_database(path, kept)
        _empty_journal(path)
    staged = path.with_name(path.name + ".restoring")
    staged.unlink(missing_ok=True)
    try:
        copy_database(file, staged)
        with closing(sqlite3.connect(staged)) as copy, copy:
            copy.execute("INSERT OR REPLACE INTO uici_meta VALUES (?, ?)", (RESTORED, utc_text(now)))
        # The journal of the old file would be taken for one of the new.
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    return kept


def _empty_journal(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise Problem(
            ProblemKind.CONFLICT,
            "state_in_use",
            "another program has the state open",
            where=str(path),
            hint="end it (`fuser` names it), then try again",
        )


def _put_back_dump(store: Store, file: Path, now: datetime) -> Path:
    check_dump(file)
    _check_version(read_versions(versions_in(file)), file)
    kept = file.with_name(f"{file.name}.replaced-{now:%Y%m%dT%H%M%S%fZ}.backup")
    _copy(store, kept)
    mark = utc_text(now)
    put_back(store.place, file, f"INSERT INTO uici_meta VALUES ('{RESTORED}', '{mark}')")  # noqa: S608 - both are ours
    return kept


def _check_version(found: tuple[int, int] | None, file: Path) -> None:
    if found is None:
        raise Problem(
            ProblemKind.UNPROCESSABLE, "no_backup", "this is no state of UICI", where=str(file),
            hint="give a file that `uici backup` wrote",
        )  # fmt: skip
    refuse_newer(found, CURRENT, str(file))


@contextmanager
def open_retention(config: Path | None, state: str | None) -> Iterator[Retention]:
    """How long a state keeps what has ended, for the command line beside a running service. Raises as `open_state`."""
    settings = site_of(config).platform.retention
    with open_state(config, state) as (store, _):
        clock = ServiceClock()
        clock.follow(store)
        yield Retention(store, clock, lambda: settings)
