"""Waiting for what the target depends on: its healing first, then a while in which the target may recover by itself."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from uici.model.alert import AlertOutcome
from uici.model.plan import VerifySettings
from uici.model.settings import MessageKind
from uici.model.site import Autonomy
from uici.model.topology import Place, topology_of
from uici.notify.messages import dependents_message
from uici.runs import dependence, records
from uici.runs.data import LOOK_AGAIN, RunData, Stage, Waited
from uici.runs.dependence import Hindrance
from uici.runs.services import Services
from uici.store.outbox import enqueue
from uici.store.schema import runs

_LOOKS_PER_SECOND = 10
"""Of all that wait for one root together; its end wakes them, this is the net below."""


def depend(services: Services, data: RunData) -> RunData:
    """Wait while something that the target depends on is broken, and until its alert would have come."""
    place = Place(*data.place)
    site = services.site()
    policy = site.policies.dependencies
    if not topology_of(site).needs(place) or not dependence.thresholds_usable(policy):
        return data.to(Stage.DIAGNOSE)  # an unusable threshold is the guard's to deny
    now = services.clock.now()
    found = dependence.hindrance(services, place)
    if found is None and data.waited is not None:
        return _recovering(services, data, data.waited, now)
    gathering = _gathering(services, data, now, timedelta(seconds=policy.correlation_seconds or 0))
    if found is None:
        return data.parked(gathering, "correlation") if gathering > now else data.to(Stage.DIAGNOSE)
    since = data.waited.since if data.waited is not None else now
    deadline = since + timedelta(seconds=policy.wait_seconds or 0)
    waited = Waited(since=since, root=str(found.root), incident=found.incident)
    with services.writing() as connection:
        dependence.register(connection, data, found, since)
        over = found.failed or now >= deadline or dependence.told_already(connection, data.run_id)
        if not over and (data.waited is None or data.waited.root != waited.root):
            services.note(connection, data, "waits_for_dependency", root=str(found.root), because=found.text)
        others = dependence.waiting_for(connection, found.root)
    if over and gathering <= now:
        return _left_to_people(services, data, waited, found)
    until = min(now + max(LOOK_AGAIN, timedelta(seconds=others / _LOOKS_PER_SECOND)), max(deadline, gathering))
    return data.parked(gathering if over else until, f"dependency {found.text}", waited=waited)


def _gathering(services: Services, data: RunData, now: datetime, window: timedelta) -> datetime:
    """Until when the alerts of dependencies may still come, counted from the beginning of the run."""
    with services.store.read() as connection:
        begun: datetime = connection.execute(select(runs.c.created_at).where(runs.c.id == data.run_id)).scalar_one()
    return min(begun, now) + window  # a clock that was set back does not lengthen it


def _recovering(services: Services, data: RunData, waited: Waited, now: datetime) -> RunData:
    """What was in the way is healed: the target may recover by itself, and its alert fall silent, before it is acted
    on.
    """
    seconds = services.site().policies.dependencies.recover_seconds or 0
    since = waited.healed_at
    if since is None:
        since = now
        with services.writing() as connection:
            dependence.forget(connection, data.run_id)
            services.note(connection, data, "dependency_healed", root=waited.root, its=waited.incident)
    waited = waited.model_copy(update={"healed_at": since})
    well = dependence.healthy(services, Place(*data.place)) is True
    until = since + timedelta(seconds=max(seconds, VerifySettings().confirm_within) if well else seconds)
    if now >= until:
        return data.to(Stage.DIAGNOSE, waited=waited)
    pause = min(timedelta(seconds=max(seconds / 20, 0.2)), LOOK_AGAIN)
    return data.parked(min(now + pause, until), f"recovery after {waited.root}", waited=waited)


def _left_to_people(services: Services, data: RunData, waited: Waited, found: Hindrance) -> RunData:
    """End this run, and tell people of it together with all others that wait for the same."""
    environment, target = data.place
    reason = f"dependency: it needs {found.text}; nothing was done to {target}"
    if services.site().autonomy_of(target, environment) is Autonomy.OBSERVE:
        return data.ending(AlertOutcome.OBSERVED, reason, waited=waited)
    now = services.clock.now()
    with services.writing() as connection:
        places = dependence.tell_all(connection, found.root, now)
        if places:
            enqueue(
                connection,
                f"dependents:{data.run_id}",
                MessageKind.ESCALATION,
                dependents_message(
                    environment=found.root.environment,
                    root=found.root.target,
                    incident=found.incident,
                    why=f"{found.text}; what depends on it is not acted on",
                    dependents=places,
                ),
                now,
                severity=records.severity_of(connection, data.incident_id),
                incident=found.incident or data.incident_id,
                run=data.run_id,
            )
    return data.ending(AlertOutcome.ESCALATED, reason, waited=waited, told=True)
