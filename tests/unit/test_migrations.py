"""A state of an older schema becomes this version's, and nothing of it is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.postgres import Postgres, postgres
from tests.state_schemas import OLD_ROWS, described, difference, kept_rows, make_schema_2, missing_code
from uici.runs.retention import KINDS
from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.migrations import version_of
from uici.store.schema import metadata

NEVER = {
    "uici_meta": "a few rows",
    "brakes": "one row for each environment",
    "slots": "one row for each target; its fencing number must never begin anew",
    "heartbeats": "one row for each heartbeat",
    "telling_windows": "one row for each channel and kind of message",
    "freezes": "one row",
    "partial_freezes": "as many as people lay, until they are lifted",
    "tokens": "as many as people make",
    "vetoes": "as many as people make",
    "outcome_sums": "one row for each remedy, environment and verdict",
    "audit_head": "one row",
    "dependents": "a row for as long as its run waits",
    "workers": "one row for each process at work; the dead are taken out",
}
"""The tables in which nothing grows old, each with why it stays small."""
WITH_OTHERS = {"approvals": "incidents, runs", "deliveries": "outbox", "audit": "cut off from its oldest end"}
WHAT_TO_DO = """
The migration from schema 2 does not lead to the tables of this version. What you add to a table, or a table that you
add, has to be made by uici/store/migrations/v3.py too (there in words of its own: it imports no table). A column that
is never null needs a `server_default`, in its table as in the migration: rows without it are there already.

What differs:
{lines}

What alembic would add to `upgrade`, with `import sqlalchemy as sa`:
{code}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two empty states."""
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("old", "fresh")]
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("server")
        urls = [server.database(name) for name in ("old", "fresh")]
        with server.connect("postgres") as connection:
            for name in ("old", "fresh"):
                connection.execute(f"DROP DATABASE IF EXISTS {name}")
                connection.execute(f"CREATE DATABASE {name}")
    both = (Store(urls[0]), Store(urls[1]))
    yield both
    for store in both:
        store.close()


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]


@pytest.fixture
def fresh(stores: tuple[Store, Store]) -> Store:
    stores[1].migrate()
    return stores[1]


def test_a_migrated_state_has_the_tables_of_a_fresh_one(store: Store, fresh: Store) -> None:
    with store.engine.begin() as connection:
        make_schema_2(connection)
    store.migrate()
    with store.read() as migrated, fresh.read() as new:
        lines = difference(described(migrated), described(new))
        assert not lines, WHAT_TO_DO.format(lines="\n".join(lines), code=missing_code(migrated, CURRENT))
        assert version_of(migrated) == version_of(new) == (CURRENT.version, CURRENT.compatible_from)


def test_a_migrated_state_holds_every_row_of_before(store: Store) -> None:
    assert all(OLD_ROWS.values()), "every table of schema 2 has rows to lose"
    with store.engine.begin() as connection:
        make_schema_2(connection)
    store.migrate()
    with store.read() as connection:
        for name, rows in kept_rows(connection).items():
            assert rows == OLD_ROWS[name], name
        # As this version reads them, too.
        for table in metadata.sorted_tables:
            connection.execute(table.select()).all()


def test_every_table_goes_or_has_a_reason_to_stay() -> None:
    going = {kind.table.name for kind in KINDS} | set(WITH_OTHERS)
    unknown = sorted(set(CURRENT.metadata.tables) - going - set(NEVER))
    assert not unknown, (
        f"{', '.join(unknown)}: say how long its rows are kept (a `Kind` of uici/runs/retention.py, or deleted "
        "`with_them`), or here in NEVER why it stays small"
    )
    assert not going & set(NEVER)
