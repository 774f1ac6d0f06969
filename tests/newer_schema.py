"""Versions of UICI that do not exist yet: their schemas, and what their migrations do to a state.

`python -m tests.newer_schema STATE NAME` migrates a state to one of them, as its first start would.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from alembic.operations import Operations

from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.migrations import Migration, StateSchema


def _metadata() -> sa.MetaData:
    copied = sa.MetaData()
    for table in CURRENT.metadata.sorted_tables:
        table.to_metadata(copied)
    copied.tables["runs"].append_column(sa.Column("newcomer", sa.Text, server_default="", nullable=False))
    sa.Table("newcomers", copied, sa.Column("id", sa.Integer, primary_key=True))
    return copied


def _expand(op: Operations) -> None:
    op.add_column("runs", sa.Column("newcomer", sa.Text, server_default="", nullable=False))
    op.create_table("newcomers", sa.Column("id", sa.Integer, primary_key=True))


def _rebuild(op: Operations) -> None:
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("actor")


def _stall(op: Operations) -> None:
    """Stands still in the midst of the migration, and says so in the file that UICI_TEST_MARK names."""
    _expand(op)
    Path(os.environ["UICI_TEST_MARK"]).touch()
    time.sleep(600)


def _take_time(op: Operations) -> None:
    """One statement that is long, and a pause between two."""
    op.execute("SELECT pg_sleep(2)")
    time.sleep(2)
    _expand(op)


def _next(number: int, upgrade: object, *, additive: bool) -> StateSchema:
    assert callable(upgrade)
    step = Migration(to=number, upgrade=upgrade, additive=additive)
    return StateSchema(number, _metadata(), (*CURRENT.migrations, step))


_NUMBER = CURRENT.version + 1
ADDITIVE = _next(_NUMBER, _expand, additive=True)
"""Adds a table, and a column with a default."""
BREAKING = _next(_NUMBER, _rebuild, additive=False)
STALLING = _next(_NUMBER, _stall, additive=True)
SLOW = _next(_NUMBER, _take_time, additive=True)
SCHEMAS = {"current": CURRENT, "additive": ADDITIVE, "breaking": BREAKING, "stalling": STALLING}


if __name__ == "__main__":
    store = Store(sys.argv[1])
    store.migrate(SCHEMAS[sys.argv[2]])
    store.close()
