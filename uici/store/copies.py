"""Copies of a state while it is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, text

from uici.model.errors import Problem, ProblemKind

_PAGES_AT_ONCE = 256
_PAUSE_SECONDS = 0.001
_SPARE_BYTES = 8_388_608


def private(path: str, flags: int) -> int:
    """For `open(…, opener=private)`: what is made so is for its owner only, whatever the process' own mask says."""
    return os.open(path, flags, 0o600)


def copy_database(source: Path, copy: Path) -> None:
    """Copy a SQLite database as it is at one moment, which holds up no writer; the copy is checked.

    Nobody but its owner may read it. Raises Problem when there is no room, or the copy is not sound, and leaves none.
    """
    _need_room(source, copy.parent)
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, isolation_level=None)) as from_,
            closing(sqlite3.connect(copy)) as to,
        ):
            # A reader's view: without it each commit of another connection would begin the copy anew, for ever.
            from_.execute("BEGIN")
            from_.execute("SELECT count(*) FROM sqlite_master").fetchone()
            from_.backup(to, pages=_PAGES_AT_ONCE, sleep=_PAUSE_SECONDS)
            to.execute("PRAGMA journal_mode=DELETE")
        check_database(copy)
        _settle(copy)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def check_database(path: Path) -> None:
    """Raises Problem for a file that is no sound SQLite database."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "state_damaged",
            f"not a sound database: {'; '.join(found)}",
            where=str(path),
            hint="use another copy; what is left of this one can be read with `sqlite3 FILE .recover`",
        )


def copy_tables(connection: Connection, into: str) -> None:
    """Copy the account's own tables of a Postgres state into a new schema `into` of the same database."""
    owned = text(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tableowner = current_user ORDER BY 1"
    )
    quote = connection.dialect.identifier_preparer.quote
    connection.exec_driver_sql(f"CREATE SCHEMA {quote(into)}")
    for name in connection.execute(owned).scalars().all():
        copy = f"{quote(into)}.{quote(name)}"
        connection.exec_driver_sql(f"CREATE TABLE {copy} (LIKE {quote(name)} INCLUDING ALL)")
        connection.exec_driver_sql(f"INSERT INTO {copy} SELECT * FROM {quote(name)}")  # noqa: S608 - quoted names


def _need_room(source: Path, folder: Path) -> None:
    needed = _SPARE_BYTES + sum(
        part.stat().st_size for part in (source, source.with_name(source.name + "-wal")) if part.exists()
    )
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise Problem(
            ProblemKind.UNAVAILABLE,
            "no_room_for_a_copy",
            f"a copy of the state needs up to {needed} bytes, and {free} are free",
            where=str(folder),
            hint="make room there first; nothing was changed",
        )


def _settle(path: Path) -> None:
    """Have the copy and its name on disk."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
