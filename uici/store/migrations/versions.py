"""The schemas of the state, and which versions of UICI can work on which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import MetaData

if TYPE_CHECKING:
    from alembic.operations import Operations


@dataclass(frozen=True)
class Migration:
    """One step forwards. There is none back: the backup is that."""

    to: int
    upgrade: Callable[[Operations], None]
    additive: bool
    """Whether a UICI that knows only the schema before it can go on working on the migrated state: there are new
    tables, new indexes, and new columns that are null or have a default of the database's, and nothing else.
    """


@dataclass(frozen=True)
class StateSchema:
    """The schema that a version of UICI works with, and the ways to it."""

    version: int
    metadata: MetaData
    migrations: tuple[Migration, ...]

    @property
    def compatible_from(self) -> int:
        """The oldest schema whose versions of UICI can work on this one, too."""
        oldest = self.version
        additive = {migration.to for migration in self.migrations if migration.additive}
        while oldest in additive:
            oldest -= 1
        return oldest

    def way_from(self, found: int) -> tuple[Migration, ...]:
        """The migrations from an older schema, in order; empty when there is no whole way."""
        way = tuple(sorted((each for each in self.migrations if each.to > found), key=lambda each: each.to))
        return way if [each.to for each in way] == list(range(found + 1, self.version + 1)) else ()
