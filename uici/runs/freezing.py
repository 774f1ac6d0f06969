"""Freezing: everything, or what some patterns name. It is in the state, so it outlives every restart."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from uici.access.reach import out_of_scope
from uici.model.base import JsonObject
from uici.model.masking import mask
from uici.model.scope import EVERYTHING, Scope, narrower
from uici.runs.frozen import PARTIAL
from uici.runs.services import Services
from uici.store.freezes import partial_freezes
from uici.store.identifiers import new_id
from uici.store.schema import freezes


class Freezes:
    """Lays and lifts."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def set(
        self,
        frozen: bool,
        actor: str,
        reason: str,
        scope: Scope = EVERYTHING,
        environment: str | None = None,
        target: str | None = None,
    ) -> JsonObject:
        """Freeze, or allow again, what these patterns name; without any, all that is within the scope.

        Of a scope without limits that is everything, by one row that is always the same. Raises Problem for patterns
        that reach beyond the scope.
        """
        if scope.everywhere and environment is None and target is None:
            self._everything(frozen, actor, reason)
        else:
            wanted = Scope(
                environments=_within(scope.environments, environment, scope),
                targets=_within(scope.targets, target, scope),
            )
            whole = environment is None and target is None
            self._partly(frozen, actor, reason, wanted, scope if whole else None)
        return self.state()

    def state(self) -> JsonObject:
        """Whether all is frozen, since when, by whom and why; and what is frozen beside that."""
        with self._services.store.read() as connection:
            row = connection.execute(select(freezes).where(freezes.c.id == 1)).one_or_none()
            partial = connection.execute(PARTIAL).all()
        shown: JsonObject = {"frozen": False, "actor": None, "reason": "", "at": None}
        if row is not None:
            shown = {"frozen": row.frozen, "actor": row.actor, "reason": mask(row.reason), "at": row.at.isoformat()}
        shown["partial"] = [
            {
                "environments": each.environments,
                "targets": each.targets,
                "actor": each.actor,
                "reason": mask(each.reason),
                "at": each.at.isoformat(),
            }
            for each in partial
        ]
        return shown

    def _everything(self, frozen: bool, actor: str, reason: str) -> None:
        with self._services.events.writing() as connection:
            values = {"frozen": frozen, "actor": actor, "reason": reason, "at": self._services.clock.now()}
            if connection.execute(freezes.update().where(freezes.c.id == 1).values(values)).rowcount == 0:
                connection.execute(freezes.insert().values(id=1, **values))
            self._services.events.append(connection, "frozen" if frozen else "unfrozen", actor=actor, reason=reason)

    def _partly(self, frozen: bool, actor: str, reason: str, wanted: Scope, reach: Scope | None) -> None:
        """With `reach` all that lies within it is lifted, not only the very patterns that are wanted."""
        now = self._services.clock.now()
        patterns = {"environments": list(wanted.environments), "targets": list(wanted.targets)}
        with self._services.events.writing() as connection:
            lifted = [
                row.id
                for row in connection.execute(PARTIAL)
                if (row.environments, row.targets) == (patterns["environments"], patterns["targets"])
                or (not frozen and reach is not None and _lies_within(reach, row.environments, row.targets))
            ]
            # Frozen again, it is the newer word that counts.
            connection.execute(partial_freezes.delete().where(partial_freezes.c.id.in_(lifted)))
            if frozen:
                row = {"id": new_id("frz", now), **patterns, "actor": actor, "reason": reason, "at": now}
                connection.execute(partial_freezes.insert().values(row))
            self._services.events.append(
                connection,
                "frozen" if frozen else "unfrozen",
                actor=actor,
                reason=reason,
                environments=patterns["environments"],
                targets=patterns["targets"],
            )
        self._services.wake()


def _within(patterns: tuple[str, ...], given: str | None, scope: Scope) -> tuple[str, ...]:
    if given is None:
        return patterns
    if not narrower(given, patterns):
        raise out_of_scope(f"{given} reaches beyond the scope of this credential", scope)
    return (given,)


def _lies_within(scope: Scope, environments: Iterable[str], targets: Iterable[str]) -> bool:
    return all(narrower(each, scope.environments) for each in environments) and all(
        narrower(each, scope.targets) for each in targets
    )
