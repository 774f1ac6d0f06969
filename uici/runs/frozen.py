"""Whether a target is frozen without everything being so."""

from __future__ import annotations

from sqlalchemy import Connection, select

from uici.model.scope import Scope
from uici.store.freezes import partial_freezes

PARTIAL = select(partial_freezes).order_by(partial_freezes.c.id)


def frozen_partly(connection: Connection, environment: str, target: str) -> tuple[str, str] | None:
    """Who froze this target and why."""
    for row in connection.execute(PARTIAL):
        scope = Scope(environments=tuple(row.environments), targets=tuple(row.targets))
        if scope.covers(environment, target):
            return row.actor, f"{scope}: {row.reason or 'no reason given'}"
    return None
