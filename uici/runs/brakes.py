"""The brake of a mass failure: how much of an environment fails, when the brake is put on, and when it lets go.

Whether it is on is a row, so it survives a restart and holds for all who share the state. How much fails is counted at
most once in `_COUNTED_SECONDS` for each environment: so late may one process be to notice.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from datetime import timedelta

from sqlalchemy import Connection, Row, bindparam, or_, select

from uici.events.log import EventLog
from uici.guard.context import MassFailure
from uici.guard.mass_failure import described, is_mass
from uici.model.alert import AlertOutcome
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.model.incident import IncidentState
from uici.model.settings import MessageKind
from uici.model.site import Site
from uici.model.topology import Place, topology_of
from uici.notify.messages import brake_message
from uici.ports import Clock
from uici.runs.data import RunState
from uici.store.brakes import brakes
from uici.store.database import Store
from uici.store.outbox import enqueue
from uici.store.schema import incidents, runs

_COUNTED_SECONDS = 1.0
_MOST_COUNTED = 256
"""Environments whose last count is remembered."""
_BAD = (AlertOutcome.ESCALATED, AlertOutcome.REFUSED, AlertOutcome.OBSERVED)
_FAILING = (
    select(incidents.c.target)
    .where(
        incidents.c.environment == bindparam("place"),
        incidents.c.target.is_not(None),
        incidents.c.opened_at >= bindparam("since"),
        or_(incidents.c.state == IncidentState.OPEN, incidents.c.outcome.in_(_BAD)),
    )
    .distinct()
)
_ROW = select(brakes).where(brakes.c.environment == bindparam("place"))
_WAKE = (
    runs.update()
    .where(
        runs.c.environment == bindparam("place"),
        runs.c.state == RunState.WAITING,
        runs.c.waiting_for == "approval",
    )
    .values(due_at=bindparam("now"))
)


class Brakes:
    """The brakes of all environments."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: OrderedDict[str, tuple[float, MassFailure]] = OrderedDict()

    def seen(self, site: Site, environment: str) -> MassFailure:
        """How much of the environment fails, and whether the brake is on, as of a second ago at the most."""
        with self._lock:
            known = self._counted.get(environment)
        if known is not None and time.monotonic() - known[0] < _COUNTED_SECONDS:
            return known[1]
        with self._store.read() as connection:
            found = self._looked(connection, site, environment)
        with self._lock:
            self._counted[environment] = (time.monotonic(), found)
            while len(self._counted) > _MOST_COUNTED:
                self._counted.popitem(last=False)
        return found

    def holds(self, site: Site, environment: str) -> bool:
        """Whether UICI may not act there by itself."""
        seen = self.seen(site, environment)
        return seen.engaged or (not seen.lifted and is_mass(site.policies.mass_failure, seen))

    def engage(self, connection: Connection, events: EventLog, site: Site, environment: str) -> None:
        """Put the brake on and tell people once, unless it is on."""
        now = self._clock.now()
        row = connection.execute(_ROW, {"place": environment}).one_or_none()
        seen = self._looked(connection, site, environment)
        if seen.engaged or seen.lifted or not is_mass(site.policies.mass_failure, seen):
            return
        values: JsonObject = {"engaged_at": now, "failing": seen.failing, "targets": seen.targets, "below_since": None}
        _write(connection, row, environment, values)
        why = described(environment, site.policies.mass_failure, seen)
        events.append(connection, "brake_engaged", environment=environment, because=why)
        enqueue(
            connection,
            f"brake:{environment}:{now.isoformat()}",
            MessageKind.ESCALATION,
            brake_message(environment, why, self._failing(connection, site, environment)),
            now,
        )
        self._forget(environment)

    def release(self, events: EventLog, site: Site) -> None:
        """Let go wherever little enough has failed for long enough."""
        with self._store.read() as connection:
            on = (
                connection.execute(select(brakes.c.environment).where(brakes.c.engaged_at.is_not(None))).scalars().all()
            )
            below = {place: self._is_below(connection, site, place) for place in on}
        for environment, is_below in below.items():
            self._released(events, site, environment, is_below)

    def lift(self, events: EventLog, site: Site, environment: str, actor: str, reason: str) -> None:
        """A person takes the brake off; it is not put on again within the policy's window. Raises Problem."""
        now = self._clock.now()
        with events.writing() as connection:
            row = connection.execute(_ROW, {"place": environment}).one_or_none()
            if row is None or row.engaged_at is None:
                raise Problem(ProblemKind.CONFLICT, "brake_is_off", f"the brake is not on in {environment}")
            until = now + timedelta(seconds=site.policies.mass_failure.within_seconds or 0)
            values = {"engaged_at": None, "lifted_until": until, "lifted_by": actor, "lifted_reason": reason}
            _write(connection, row, environment, values)
            events.append(connection, "brake_lifted", environment=environment, actor=actor, reason=reason)
            connection.execute(_WAKE, {"place": environment, "now": now})
        self._forget(environment)

    def listed(self) -> list[JsonObject]:
        """The brakes that are on."""
        with self._store.read() as connection:
            rows = connection.execute(select(brakes).where(brakes.c.engaged_at.is_not(None))).all()
        return [
            {
                "environment": row.environment,
                "engaged_at": row.engaged_at.isoformat(),
                "failing": row.failing,
                "targets": row.targets,
            }
            for row in sorted(rows, key=lambda row: str(row.environment))
        ]

    def _released(self, events: EventLog, site: Site, environment: str, is_below: bool) -> None:
        now = self._clock.now()
        seconds = site.policies.mass_failure.release_seconds
        with events.writing() as connection:
            row = connection.execute(_ROW, {"place": environment}).one_or_none()
            if row is None or row.engaged_at is None:
                return
            since = min(row.below_since or now, now) if is_below else None
            if since is None or seconds is None or now - since < timedelta(seconds=seconds):
                if since != row.below_since:
                    _write(connection, row, environment, {"below_since": since})
                return
            _write(connection, row, environment, {"engaged_at": None, "below_since": None})
            events.append(connection, "brake_released", environment=environment)
            connection.execute(_WAKE, {"place": environment, "now": now})
        self._forget(environment)

    def _is_below(self, connection: Connection, site: Site, environment: str) -> bool:
        share = site.policies.mass_failure.release_share
        seen = self._looked(connection, site, environment)
        if share is None or is_mass(site.policies.mass_failure, seen):
            return False
        return seen.targets == 0 or seen.failing / seen.targets <= share

    def _looked(self, connection: Connection, site: Site, environment: str) -> MassFailure:
        row = connection.execute(_ROW, {"place": environment}).one_or_none()
        return MassFailure(
            failing=len(self._failing(connection, site, environment)),
            targets=sum(environment in spec.bindings for spec in site.targets.values()),
            engaged=row is not None and row.engaged_at is not None,
            lifted=row is not None and row.lifted_until is not None and self._clock.now() < row.lifted_until,
        )

    def _failing(self, connection: Connection, site: Site, environment: str) -> tuple[str, ...]:
        """What fails there and is not explained by something else that fails there."""
        since = self._clock.now() - timedelta(seconds=site.policies.mass_failure.within_seconds or 0)
        names = connection.execute(_FAILING, {"place": environment, "since": since}).scalars().all()
        return tuple(place.target for place in topology_of(site).roots(Place(environment, name) for name in names))

    def _forget(self, environment: str) -> None:
        with self._lock:
            self._counted.pop(environment, None)


def _write(connection: Connection, row: Row[tuple[object, ...]] | None, environment: str, values: JsonObject) -> None:
    if row is None:
        first = {"environment": environment, "failing": 0, "targets": 0}
        connection.execute(brakes.insert().values(first | values))
    else:
        connection.execute(brakes.update().where(brakes.c.environment == environment).values(values))
