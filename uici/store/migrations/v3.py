"""Schema 3: many machines on one state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uici.store.migrations.v3_access import add_access
from uici.store.migrations.v3_audit import add_audit
from uici.store.migrations.v3_storms import add_brakes, add_dependents
from uici.store.migrations.v3_sums import add_sums
from uici.store.migrations.v3_workers import add_workers
from uici.store.migrations.versions import Migration

if TYPE_CHECKING:
    from alembic.operations import Operations


def upgrade(op: Operations) -> None:
    """What schema 2 lacks. In order of name; a column that is never null has a `server_default`, as in its table."""
    add_audit(op)
    add_brakes(op)
    add_dependents(op)
    add_workers(op)
    add_sums(op)
    add_access(op)


# Versions that know only schema 2 write their number over the state's whenever they are asked whether they are ready.
MIGRATION = Migration(to=3, upgrade=upgrade, additive=False)
