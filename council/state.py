"""Files of the council's state: SQLite, for its owner alone, with every commit on the disk before it is believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BUSY_SECONDS = 10.0


def opened(file: Path, tables: str) -> sqlite3.Connection:
    """A connection for several threads that take turns; folder, file and tables are made where they are missing."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    db = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    file.chmod(0o600)
    db.execute("PRAGMA journal_mode=WAL")
    # What a power cut forgets would be spent twice, or lost although its window was over.
    db.execute("PRAGMA synchronous=FULL")
    db.executescript(tables)
    return db


@contextmanager
def immediate(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that is the only writer from its first statement on."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:  # whatever it was, the next one must not find this transaction open
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def check_writable(db: sqlite3.Connection) -> None:
    """Write what says nothing, and commit it. Raises sqlite3.Error where nothing could be kept."""
    with immediate(db):
        db.execute("PRAGMA user_version = 1")
