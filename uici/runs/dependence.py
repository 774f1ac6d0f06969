"""What stands between a target and its healing: something that it depends on and that is broken itself.

What is broken is told by the open incidents of all that the target needs, directly or not, and by a look at what it
needs directly: the alerts of a service often come before those of the database that took it down.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select

from uici.model.alert import AlertOutcome
from uici.model.base import Frozen
from uici.model.call import CallError
from uici.model.errors import Problem
from uici.model.incident import IncidentState
from uici.model.plan import Origin
from uici.model.policies import DependencyPolicy
from uici.model.thresholds import usable
from uici.model.topology import Place, topology_of
from uici.runs.data import RunData, RunState
from uici.runs.services import Services
from uici.store.dependents import dependents
from uici.store.schema import incidents, runs

_GOOD = (AlertOutcome.HEALED, AlertOutcome.SELF_RESOLVED, AlertOutcome.SUPERSEDED)
_OPEN = select(incidents.c.key, incidents.c.id).where(
    incidents.c.key.in_(bindparam("keys", expanding=True)), incidents.c.state == IncidentState.OPEN
)
_LAST_END = (
    select(runs.c.incident_id, runs.c.outcome, runs.c.reason)
    .where(
        runs.c.environment == bindparam("place"),
        runs.c.target == bindparam("aim"),
        runs.c.state == RunState.ENDED,
        runs.c.origin != Origin.HUMAN,
        runs.c.ended_at >= bindparam("since"),
    )
    .order_by(runs.c.ended_at.desc())
    .limit(1)
)
_OF_ROOT = (
    dependents.c.root_environment == bindparam("place"),
    dependents.c.root_target == bindparam("aim"),
)
_WAKE = (
    runs.update()
    .where(runs.c.id.in_(select(dependents.c.run_id).where(*_OF_ROOT)), runs.c.state != RunState.ENDED)
    .values(due_at=bindparam("now"))
)
_COUNT = select(func.count()).select_from(dependents).where(*_OF_ROOT)
_FORGET = dependents.delete().where(dependents.c.run_id == bindparam("run"))


class Hindrance(Frozen):
    """What a target waits for."""

    root: Place
    incident: str | None = None
    """Of the root; None where it is down and none is open."""
    failed: bool = False
    """UICI is done with the root, and it is not healed."""
    text: str

    @property
    def reason(self) -> str:
        """What people see."""
        return f"waits for {self.text}"


def hindrance(services: Services, place: Place, beside: Collection[Place] = ()) -> Hindrance | None:
    """What the target has to wait for now; None when it need not. `beside` are places whose alerts are about to come.

    A dependency that cannot be asked, and has no open incident, is not waited for: nothing says that it is broken.
    """
    topology = topology_of(services.site())
    needed = topology.needs(place)
    if not needed:
        return None
    with services.store.read() as connection:
        rows = connection.execute(_OPEN, {"keys": [str(each) for each in needed]}).all()
    known = {row.key: row.id for row in rows}
    for root in needed:
        if str(root) in known:
            incident = known[str(root)]
            return Hindrance(root=root, incident=incident, text=f"{root.target}: incident {incident}")
        if root in beside:
            return Hindrance(root=root, text=f"{root.target}: its alerts are in the same notification")
    for root in topology.direct(place):
        if healthy(services, root) is False:
            return _down(services, root)
    return None


def healthy(services: Services, place: Place) -> bool | None:
    """Whether the target is healthy, by looking now; None where it cannot be asked."""
    try:
        return services.platforms.read(place.environment, place.target, "check_service_health").get("healthy") is True
    except (CallError, Problem):
        return None


def _down(services: Services, root: Place) -> Hindrance:
    """A root that is down without an open incident: its alert is on its way, or UICI is done with it in vain."""
    seconds = services.site().policies.dependencies.wait_seconds or 0
    since = services.clock.now() - timedelta(seconds=seconds)
    with services.store.read() as connection:
        row = connection.execute(
            _LAST_END, {"place": root.environment, "aim": root.target, "since": since}
        ).one_or_none()
    if row is None or row.outcome in _GOOD:
        return Hindrance(root=root, text=f"{root.target}: it is not healthy, and no alert has come for it")
    ended = f"incident {row.incident_id} ended as {row.outcome}: {row.reason}"
    return Hindrance(root=root, incident=row.incident_id, failed=True, text=f"{root.target}: {ended}")


def thresholds_usable(policy: DependencyPolicy) -> bool:
    """Whether the guard would judge by this policy at all."""
    return all(usable(getattr(policy, name), policy, name) for name in type(policy).model_fields)


def waiting_for(connection: Connection, root: Place) -> int:
    """How many runs wait for this root."""
    return connection.execute(_COUNT, {"place": root.environment, "aim": root.target}).scalar_one()


def register(connection: Connection, data: RunData, found: Hindrance, since: datetime) -> None:
    """Write down what the run waits for; whether people were told of it stays."""
    environment, target = data.place
    values = {
        "root_environment": found.root.environment,
        "root_target": found.root.target,
        "root_incident": found.incident,
    }
    mine = dependents.update().where(dependents.c.run_id == data.run_id).values(values)
    if connection.execute(mine).rowcount == 0:
        row = {"run_id": data.run_id, "environment": environment, "target": target, "since": since, "told": False}
        connection.execute(dependents.insert().values(row | values))


def told_already(connection: Connection, run_id: str) -> bool:
    """Whether people were told of this run among those that wait for the same root."""
    told = connection.execute(select(dependents.c.told).where(dependents.c.run_id == run_id)).scalar_one_or_none()
    return told is True


def tell_all(connection: Connection, root: Place, now: datetime) -> list[str]:
    """Mark all who wait for this root as told, and let them look again; the places that were not told of before."""
    here = (dependents.c.root_environment == root.environment, dependents.c.root_target == root.target)
    rows = connection.execute(select(dependents).where(*here, dependents.c.told.is_(False))).all()
    connection.execute(dependents.update().where(*here).values(told=True))
    connection.execute(_WAKE, {"place": root.environment, "aim": root.target, "now": now})
    return sorted(str(Place(row.environment, row.target)) for row in rows)


def forget(connection: Connection, run_id: str) -> None:
    """The run waits no more."""
    connection.execute(_FORGET, {"run": run_id})


def wake(connection: Connection, data: RunData, now: datetime) -> None:
    """A run ends: whoever waits for its target looks again."""
    if data.waited is not None:
        forget(connection, data.run_id)
    if data.environment is not None and data.target is not None:
        connection.execute(_WAKE, {"place": data.environment, "aim": data.target, "now": now})
