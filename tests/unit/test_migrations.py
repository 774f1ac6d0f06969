"""A state of an older schema becomes this version's, and nothing of it is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.state_schemas import OLD_ROWS, described, difference, kept_rows, make_schema_2, missing_code
from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.migrations import version_of
from uici.store.schema import metadata

WHAT_TO_DO = """
The migration from schema 2 does not lead to the tables of this version. What you add to a table, or a table that you
add, has to be made by uici/store/migrations/v3.py too (there in words of its own: it imports no table). A column that
is never null needs a `server_default`, in its table as in the migration: rows without it are there already.

What differs:
{lines}

What alembic would add to `upgrade`, with `import sqlalchemy as sa`:
{code}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'uici.db'}")
    yield store
    store.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'fresh.db'}")
    store.migrate()
    yield store
    store.close()


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
