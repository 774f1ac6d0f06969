"""From findings to the right to act: the plan, the guards, people's approval, the slot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from uici.guard.context import GuardContext
from uici.guard.judging import combined, judge
from uici.model.alert import AlertOutcome
from uici.model.errors import Problem
from uici.model.incident import Finding
from uici.model.plan import Origin, PreparedPlan, VerifySettings
from uici.model.settings import MessageKind
from uici.model.site import FIRES_WHILE_HEALTHY, Site
from uici.model.verdict import Answer, Decision
from uici.notify.messages import approval_message
from uici.planning.ladder import explain, refuse_self
from uici.runs import choosing, outcomes, records, slots
from uici.runs.changes import changes_of
from uici.runs.consulting import consulted
from uici.runs.data import AT_FIRST, LOOK_AGAIN, RunData, Stage
from uici.runs.guarding import HOUR, context_of
from uici.runs.questions import Fate
from uici.runs.services import Services
from uici.runs.showing import masked, of_prepared, only_watched, rests, waits
from uici.runs.stages.opening import further, values_of
from uici.store.identifiers import new_id
from uici.store.observed import observed
from uici.store.outbox import enqueue
from uici.store.schema import approvals, incidents

_BRAKE_LOOK = timedelta(minutes=1)
"""Whoever releases the brake wakes those that it held; this is the net below."""
_SLOT_POLLS_PER_SECOND = 10
"""A freed slot wakes the next who wait; this is the net below, for all of an environment together."""


def plan(services: Services, data: RunData) -> RunData:
    """Take the next rung of the ladder, translate it, and keep its snapshot."""
    platforms = services.platforms_of(data)
    site = platforms.site
    spec = services.site().targets.get(data.target or "")
    if spec is not None and spec.watch_only:
        return data.ending(AlertOutcome.ESCALATED, f"watch_only: {data.target} is watched, never acted on")
    if data.strategy is None:
        raise ValueError(f"{data.run_id} plans without a diagnosis")
    findings = frozenset(finding.name for finding in data.findings)
    situation = _situation(services, data, findings, data.tried)
    found = choosing.next_plans(services, platforms, situation)
    if not found.plans and "healthy" in findings and not data.tried:
        waiting = _waiting_for_silence(services, data)
        if waiting is not None:
            return waiting
        situation = _situation(services, data, findings | {FIRES_WHILE_HEALTHY}, data.tried)
        found = choosing.next_plans(services, platforms, situation)
        if not found.plans:
            reason = f"nothing_wrong: {data.target} has been found healthy, but its alert still fires"
            return data.ending(AlertOutcome.ESCALATED, reason)
    if not found.plans:
        reason = data.unseen or _none_left(site, data, situation)
        # Who sees nothing of the target could tell a model nothing either.
        asking = None if data.unseen else consulted(services, data, reason, after_ladder=True)
        return asking or data.ending(AlertOutcome.ESCALATED, reason)
    choice, is_new = None, False
    chosen = found.plans[0]
    if found.group is not None:
        open_now = choosing.alternatives(services, platforms, situation, found, lifted_by_time(services))
        choice, is_new = choosing.drawn(services, situation, open_now)
        chosen = next(item for item in found.plans if item.remedy == choice.chosen)
    own = refuse_self(chosen, site, services.identity, services.layers)
    if own.answer is Answer.DENY:
        return data.ending(AlertOutcome.REFUSED, f"self_target: {own.reason}")
    try:
        prepared = platforms.prepare(chosen)
    except Problem as problem:
        remedy = chosen.remedy or ""
        why = f"it cannot be translated: {problem.detail}"
        if problem.code == "self_target":
            return data.ending(AlertOutcome.REFUSED, f"self_target: remedy {remedy}: {why}")
        # What cannot be done to this target here is no reason to leave out what can.
        services.note_alone(data, "remedy_impossible", remedy=remedy, code=problem.code, reason=why)
        return data.to(Stage.PLAN, impossible=(*data.impossible, (remedy, why)))
    cid = services.keep_plan(prepared)
    if choice is not None and is_new:
        now = services.clock.now()
        services.later(lambda connection: outcomes.keep_choice(connection, data.run_id, situation.rung, choice, now))
        services.note_alone(data, "remedy_chosen", **choice.model_dump(mode="json"))
    services.note_alone(
        data,
        "planned",
        strategy=data.strategy,
        remedy=chosen.remedy,
        cid=cid,
        risk=prepared.risk,
        steps=[step.step.operation for step in prepared.steps],
    )
    return data.to(
        Stage.GUARD,
        cid=cid,
        tried=(*data.tried, chosen.remedy or ""),
        **AT_FIRST,
    )


def _none_left(site: Site, data: RunData, situation: choosing.Situation) -> str:
    impossible = dict(data.impossible)
    tried = (*data.tried, *impossible)
    left_out = explain(site, situation.strategy, situation.findings, tried, situation.values)
    skipped = "; ".join(f"{name}: {impossible.get(name, why)}" for name, why in left_out)
    return f"no_remedy_left: {skipped or 'the ladder is empty'}"


def _waiting_for_silence(services: Services, data: RunData) -> RunData | None:
    """A healthy target needs no remedy; the alert's window may not have passed yet: look again. None once it has."""
    now = services.clock.now()
    until = data.well_until or now + timedelta(seconds=VerifySettings().confirm_within)
    if now >= until:
        return None
    return data.to(Stage.DIAGNOSE).parked(min(until, now + LOOK_AGAIN), "silence", well_until=until)


def guard(services: Services, data: RunData) -> RunData:
    """Ask every guard; go on, ask people, wait for a turn, or end with the reason."""
    context, decisions = _judged(services, data)
    answer = combined(decisions)
    _record(services, data, answer, decisions)
    if answer is Answer.NEEDS_APPROVAL:
        with services.writing() as connection:
            return _ask(connection, services, data, context.plan, decisions)
    if answer is Answer.ALLOW:
        return data.to(Stage.ACQUIRE)
    return _denied(services, data, context, decisions)


def approval(services: Services, data: RunData) -> RunData:
    """Wait for people. What is not decided in time expires closed."""
    now = services.clock.now()
    with services.writing() as connection:
        row = connection.execute(
            select(approvals).where(approvals.c.run_id == data.run_id, approvals.c.cid == data.cid)
        ).one()
        if row.state == "pending" and now < row.expires_at:
            if not data.braked:
                return data.parked(row.expires_at, "approval")
            if services.brakes.holds(services.site(), data.place[0]):
                return data.parked(min(row.expires_at, now + _BRAKE_LOOK), "approval")
            return data.to(Stage.GUARD)
        if row.state == "pending":
            connection.execute(
                approvals.update().where(approvals.c.id == row.id).values(state="expired", decided_at=now)
            )
            services.note(connection, data, "approval_expired", cid=data.cid)
            why = f"nobody decided until {row.expires_at:%H:%M:%S} UTC"
            if data.braked:  # people were told when the brake was put on
                return data.ending(AlertOutcome.ESCALATED, f"mass_failure: {why}", told=True)
            return data.ending(AlertOutcome.REFUSED, f"approval_expired: {why}")
    if row.state == "approved":
        return data.to(Stage.GUARD, approved_cid=data.cid)
    return data.ending(
        AlertOutcome.REFUSED, f"rejected by {row.decided_by}" + (f": {row.comment}" if row.comment else "")
    )


def acquire(services: Services, data: RunData) -> RunData:
    """Take the target's slot, and ask the guards once more under the policy that is in force now."""
    environment, target_name = data.place
    now = services.clock.now()
    if not services.plan(data.cid).mutates:
        return data.to(Stage.CAPTURE)  # looking needs no slot, and must not wait for one
    limits = services.site().policies.blast_radius
    with services.writing() as connection:
        # Counted where it is taken: of many that the guards let through at once only so many may begin.
        acting = slots.acting(connection, environment, except_run=data.run_id)
        begun = records.begun_since(connection, environment, now - HOUR, except_run=data.run_id)
        full = acting >= (limits.max_concurrent or 0) or begun >= (limits.max_per_hour or 0)
        fence = None if full else slots.take(connection, environment, target_name, data.run_id, now)
    if fence is None:
        return _queued(services, data.to(Stage.GUARD))
    context, decisions = _judged(services, data)
    answer = combined(decisions)
    if answer is Answer.ALLOW:
        _count(services, context.plan, Fate.ALLOWED)
        services.note_alone(data, "slot_taken", fence=fence)
        return data.to(Stage.CAPTURE, fence=fence)
    _record(services, data, answer, decisions)
    with services.writing() as connection:
        slots.release(connection, data.run_id)
        if answer is Answer.NEEDS_APPROVAL:
            return _ask(connection, services, data, context.plan, decisions)
    return _denied(services, data, context, decisions)


def _judged(services: Services, data: RunData) -> tuple[GuardContext, tuple[Decision, ...]]:
    context = context_of(
        services,
        services.plan(data.cid),
        run_id=data.run_id,
        approved=data.approved_cid == data.cid,
        first_rung=len(data.tried) <= 1,
    )
    return context, judge(context)


def _ask(
    connection: Connection,
    services: Services,
    data: RunData,
    prepared: PreparedPlan,
    decisions: tuple[Decision, ...],
) -> RunData:
    seconds = services.site().policies.approval.expires_seconds
    if seconds is None:  # the policy has changed since the guards denied nothing: they will now
        return data.to(Stage.GUARD)
    now = services.clock.now()
    asking = [item for item in decisions if item.answer is Answer.NEEDS_APPROVAL]
    braking = [item for item in asking if item.guard == "mass-failure"]
    if braking:
        services.brakes.engage(connection, services.events, services.site(), data.place[0])
    braked = len(braking) == len(asking)
    known = connection.execute(
        select(approvals.c.id).where(approvals.c.run_id == data.run_id, approvals.c.cid == data.cid)
    ).scalar_one_or_none()
    if known is None:
        _count(services, prepared, Fate.ASKED)
        reasons = [f"{item.guard}: {item.reason}" for item in asking]
        if prepared.plan.authored is not None:
            reasons.append(f"{prepared.plan.authored.model} wrote this plan: {prepared.plan.reason}")
        connection.execute(
            approvals.insert().values(
                id=new_id("apr", now),
                run_id=data.run_id,
                cid=data.cid,
                state="pending",
                requested_at=now,
                expires_at=now + timedelta(seconds=seconds),
            )
        )
        services.note(
            connection,
            data,
            "approval_requested",
            cid=data.cid,
            risk=prepared.risk,
            reasons=reasons,
        )
        if not braked:  # of the brake people are told once for all
            _tell_of_question(connection, services, data, prepared, reasons, now + timedelta(seconds=seconds))
    return data.to(Stage.APPROVAL, braked=braked)


def _tell_of_question(
    connection: Connection,
    services: Services,
    data: RunData,
    prepared: PreparedPlan,
    reasons: list[str],
    expires_at: datetime,
) -> None:
    about = connection.execute(
        select(incidents.c.title, incidents.c.severity).where(incidents.c.id == data.incident_id)
    ).one_or_none()
    enqueue(
        connection,
        f"approval:{data.run_id}:{data.cid}",
        MessageKind.APPROVAL,
        approval_message(
            run=data.run_id,
            incident=data.incident_id,
            title=about.title if about is not None else "",
            environment=data.environment,
            target=data.target,
            remedy=prepared.plan.remedy,
            reasons=reasons,
            cid=data.cid or "",
            plan=[step.step.model_dump(mode="json") for step in prepared.steps],
            expires_at=expires_at,
            guides=further(services, data, records.alerts_of(connection, data.incident_id or "")),
        ),
        services.clock.now(),
        severity=about.severity if about is not None else "",
        incident=data.incident_id,
        run=data.run_id,
    )


def _denied(services: Services, data: RunData, context: GuardContext, decisions: tuple[Decision, ...]) -> RunData:
    denials = [item for item in decisions if item.answer is Answer.DENY]
    if any((item.guard, item.rule) == ("veto", "vetoed") for item in denials) and _others_left(services, data):
        return data.to(Stage.PLAN, tried=data.tried[:-1])  # vetoed since it was planned
    reason = "; ".join(f"{item.guard}: {item.reason}" for item in denials)
    if only_watched(denials):
        _keep_observed(services, data, context, decisions)
        proposing = any(item.guard == "autonomy" and item.rule == "propose" for item in denials)
        return data.ending(AlertOutcome.OBSERVED, reason, proposing=proposing)
    if all(waits(context.policies, item) for item in denials):
        if any(item.guard == "dependency" for item in denials):
            return data.to(Stage.DEPEND, tried=data.tried[:-1])
        if any(rests(context.policies, item) for item in denials):
            # Another run ended on the target while this one was on its way: diagnose afresh once it has rested.
            return data.to(Stage.HOLD, tried=data.tried[:-1])
        return _queued(services, data)
    if data.origin is Origin.RULE and all(item.guard == "give-up" for item in denials):
        return data.ending(AlertOutcome.ESCALATED, f"gave_up: {reason}", gave_up=True)
    return data.ending(AlertOutcome.REFUSED, reason)


def _count(services: Services, prepared: PreparedPlan, fate: Fate) -> None:
    if prepared.plan.origin is Origin.COUNCIL:
        services.questions.planned(fate)


def _situation(
    services: Services, data: RunData, findings: frozenset[str], tried: tuple[str, ...]
) -> choosing.Situation:
    environment, target_name = data.place
    strategy = data.strategy or ""
    with services.store.read() as connection:
        firing = records.firing_alerts(connection, data.incident_id or "")
    values = values_of(services.platforms_of(data).site, strategy, firing, environment, target_name)
    impossible = tuple(name for name, _ in data.impossible)
    why = because(data.strategy, data.findings)
    return choosing.Situation(strategy, values, findings, tried, data.run_id, why, impossible)


def _others_left(services: Services, data: RunData) -> bool:
    """Whether the ladder has a remedy for this rung that nobody has vetoed."""
    if data.strategy is None:
        return False
    findings = frozenset(finding.name for finding in data.findings)
    situation = _situation(services, data, findings, data.tried[:-1])
    found = choosing.next_plans(services, services.platforms_of(data), situation)
    return any(plan.remedy not in found.vetoed for plan in found.plans)


def lifted_by_time(services: Services) -> Callable[[Decision], bool]:
    """Tells of a denial whether the run only has to wait for its turn."""
    return lambda denial: waits(services.site().policies, denial)


def _keep_observed(services: Services, data: RunData, context: GuardContext, decisions: tuple[Decision, ...]) -> None:
    """What would have been done, exactly as a preview shows it, and what the other guards say of it."""
    shown = of_prepared(context, decisions, changes_of(services, context.plan)) | {
        "findings": [item.model_dump(mode="json") for item in data.findings]
    }
    row = {
        "run_id": data.run_id,
        "incident_id": data.incident_id,
        "environment": data.place[0],
        "target": data.place[1],
        "strategy": data.strategy,
        "remedy": shown["remedy"],
        "cid": shown["cid"],
        "risk": shown["risk"],
        "level": next((item.rule for item in decisions if item.guard == "autonomy"), context.autonomy),
        "otherwise": combined(item for item in decisions if item.guard != "autonomy"),
        "preview": masked(shown),
        "at": services.clock.now(),
    }
    with services.writing() as connection:
        # The stage may come here again after a crash: what it saw last is what the run ends with.
        connection.execute(observed.delete().where(observed.c.run_id == data.run_id))
        connection.execute(observed.insert().values(row))


def _queued(services: Services, data: RunData) -> RunData:
    """Wait for a slot, at a pace that many who wait can keep up together."""
    environment, _ = data.place
    with services.store.read() as connection:
        others = records.count_queued(connection, environment)
    pause = timedelta(seconds=max(1.0, others / _SLOT_POLLS_PER_SECOND))
    return data.parked(services.clock.now() + pause, "slot")


def _record(services: Services, data: RunData, answer: Answer, decisions: tuple[Decision, ...]) -> None:
    services.note_alone(
        data,
        "guarded",
        cid=data.cid,
        answer=answer,
        decisions=[item.model_dump(mode="json") for item in decisions if item.answer is not Answer.ALLOW],
    )


def because(strategy: str | None, findings: Iterable[Finding]) -> str:
    """The reason that a plan gives for itself. It is part of the plan, and so of its `cid`."""
    names = ", ".join(finding.name for finding in findings)
    return f"strategy {strategy}; findings: {names or 'none'}"
