"""Gathering what the guards decide about: the live policy and the state of the store and of the group."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from uici.guard.context import GuardContext, MassFailure
from uici.model.call import CallError
from uici.model.errors import Problem
from uici.model.learning import Veto
from uici.model.plan import PreparedPlan
from uici.model.site import Site
from uici.model.thresholds import usable
from uici.model.topology import Place
from uici.runs import records
from uici.runs.dependence import hindrance as hindrance_of
from uici.runs.outcomes import vetoes_in_force
from uici.runs.services import Services

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Seen:
    """What the store says of a target at one moment; that which it cannot say is named."""

    now: datetime
    standing: records.Standing
    frozen: tuple[str, str] | None
    freeze_known: bool
    vetoes: tuple[Veto, ...] | None
    """Those in force; None when they cannot be read."""


def seen_now(services: Services, environment: str, target: str, run_id: str) -> Seen:
    """What the guards ask of the store, beside the run itself, read now."""
    now = services.clock.now()
    policy = services.site().policies.give_up
    # Without a usable window nothing is counted, and the guard denies for that very reason.
    window = timedelta(seconds=policy.within_seconds if usable(policy.within_seconds, policy, "within_seconds") else 0)
    asked = {"window": now - window, "since": now - HOUR}
    with services.store.read() as connection:
        try:
            live = records.live(connection, environment, target, run_id, **asked)
            vetoes = vetoes_in_force(connection) if live.any_veto else ()
        except SQLAlchemyError:
            # Each by itself: the guard denies which cannot read its own, and the others answer.
            frozen, freeze_known = _frozen(connection, environment, target)
            standing = records.standing(connection, environment, target, run_id, **asked)
            return Seen(now, standing, frozen, freeze_known, _vetoes(connection))
    return Seen(now, live.standing, live.frozen, True, vetoes)


def _frozen(connection: Connection, environment: str, target: str) -> tuple[tuple[str, str] | None, bool]:
    try:
        return records.freeze_in_force(connection, environment, target), True
    except SQLAlchemyError:
        return None, False


def _vetoes(connection: Connection) -> tuple[Veto, ...] | None:
    try:
        return vetoes_in_force(connection)
    except SQLAlchemyError:
        return None


def context_of(
    services: Services,
    prepared: PreparedPlan,
    *,
    run_id: str,
    approved: bool,
    first_rung: bool,
    seen: Seen | None = None,
    beside: Collection[Place] = (),
) -> GuardContext:
    """Everything the guards may ask about `prepared`, read now, but for what was `seen` in the store just before.

    `beside` are places of which alerts are about to come.
    """
    site = services.site()
    environment = prepared.plan.environment
    target = prepared.steps[0].step.target
    seen = seen or seen_now(services, environment, target, run_id)
    standing = seen.standing
    spec = site.targets.get(target)
    hindrance, dependencies_known = _hindrance(services, Place(environment, target), beside)
    members, healthy = _group(services, site, environment, target)
    return GuardContext(
        plan=prepared,
        policies=site.policies,
        autonomy=site.autonomy_of(target, environment),
        watch_only=spec.watch_only if spec is not None and environment in spec.bindings else None,
        now=seen.now,
        origin=prepared.plan.origin,
        identity=services.identity,
        aliases=spec.aliases if spec is not None else (),
        layers=services.layers,
        frozen=seen.frozen,
        freeze_known=seen.freeze_known,
        vetoes=seen.vetoes,
        holder=standing.holder if standing.holder != run_id else None,
        last_run_ended=standing.last_run_ended,
        ineffective_runs=standing.ineffective_runs,
        group_members=members,
        group_healthy=healthy,
        acting=standing.acting,
        started_last_hour=standing.begun_since,
        hindrance=hindrance,
        dependencies_known=dependencies_known,
        mass_failure=_mass_failure(services, site, environment),
        approved=approved,
        first_rung=first_rung,
    )


def _hindrance(services: Services, place: Place, beside: Collection[Place]) -> tuple[str | None, bool]:
    try:
        found = hindrance_of(services, place, beside)
    except SQLAlchemyError:
        return None, False
    return (found.text if found is not None else None), True


def _mass_failure(services: Services, site: Site, environment: str) -> MassFailure | None:
    try:
        return services.brakes.seen(site, environment)
    except SQLAlchemyError:
        return None


def _group(services: Services, site: Site, environment: str, target: str) -> tuple[int, int | None]:
    """How many others stand in for the target, and how many of them are healthy; one that cannot be asked is not."""
    spec = site.targets.get(target)
    if spec is None or spec.group is None:
        return 0, 0
    others = [
        name
        for name, other in site.targets.items()
        if name != target and other.group == spec.group and environment in other.bindings
    ]
    healthy = 0
    for name in others:
        try:
            healthy += services.platforms.read(environment, name, "check_service_health").get("healthy") is True
        except (CallError, Problem):
            continue
    return len(others), healthy
