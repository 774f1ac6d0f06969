"""Gathering what the guards decide about: the live policy and the state of the store and of the group."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from uici.guard.context import GuardContext
from uici.model.call import CallError
from uici.model.errors import Problem
from uici.model.learning import Veto
from uici.model.plan import PreparedPlan
from uici.model.site import Site
from uici.model.thresholds import usable
from uici.runs import records
from uici.runs.outcomes import vetoes_in_force
from uici.runs.services import Services

HOUR = timedelta(hours=1)


def context_of(
    services: Services, prepared: PreparedPlan, *, run_id: str, approved: bool, first_rung: bool
) -> GuardContext:
    """Everything the guards may ask about `prepared`, read now."""
    site = services.site()
    environment = prepared.plan.environment
    target = prepared.steps[0].step.target
    now = services.clock.now()
    policy = site.policies.give_up
    # Without a usable window nothing is counted, and the guard denies for that very reason.
    window = timedelta(seconds=policy.within_seconds if usable(policy.within_seconds, policy, "within_seconds") else 0)
    frozen: tuple[str, str] | None = None
    freeze_known = True
    with services.store.read() as connection:
        try:
            frozen = records.freeze_in_force(connection)
        except SQLAlchemyError:
            freeze_known = False
        try:
            vetoes: tuple[Veto, ...] | None = vetoes_in_force(connection)
        except SQLAlchemyError:
            vetoes = None
        standing = records.standing(connection, environment, target, run_id, window=now - window, since=now - HOUR)
    spec = site.targets.get(target)
    members, healthy = _group(services, site, environment, target)
    return GuardContext(
        plan=prepared,
        policies=site.policies,
        autonomy=site.autonomy_of(target, environment),
        watch_only=spec.watch_only if spec is not None and environment in spec.bindings else None,
        now=now,
        origin=prepared.plan.origin,
        identity=services.identity,
        aliases=spec.aliases if spec is not None else (),
        layers=services.layers,
        frozen=frozen,
        freeze_known=freeze_known,
        vetoes=vetoes,
        holder=standing.holder if standing.holder != run_id else None,
        last_run_ended=standing.last_run_ended,
        ineffective_runs=standing.ineffective_runs,
        group_members=members,
        group_healthy=healthy,
        acting=standing.acting,
        started_last_hour=standing.begun_since,
        approved=approved,
        first_rung=first_rung,
    )


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
