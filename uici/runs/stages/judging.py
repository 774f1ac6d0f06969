"""After acting: did it work; if not, put back what was changed, and try the next rung."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from uici.model.alert import Alert, AlertOutcome
from uici.model.call import CallError
from uici.model.errors import Problem
from uici.model.plan import Origin, Plan, PreparedPlan, VerifySettings
from uici.model.verdict import Verdict
from uici.monitoring.prometheus import PrometheusClient
from uici.runs import outcomes, records, slots
from uici.runs.changes import difference
from uici.runs.data import FIRST_CALL, DoneStep, RunData, Stage
from uici.runs.looking import kept_state
from uici.runs.platforms import Platforms
from uici.runs.services import Services
from uici.runs.stages.opening import Failure, blind
from uici.translation.translating import inverse_step
from uici.verification.judging import HealthTrack, judge_track
from uici.verification.prometheus import alert_fires

_SILENCE_POLL_SECONDS = 5.0
"""Between two looks once the target is healthy; a resolved alert wakes the run at once."""


def verify(services: Services, data: RunData) -> RunData:
    """Look at the target's health and at the alert until a verdict can be given."""
    environment, target_name = data.place
    plan = services.plan(data.cid)
    with services.store.read() as connection:
        firing = records.firing_alerts(connection, data.incident_id or "")
    settings = plan.health_gate or VerifySettings()
    platforms = services.platforms_of(data)
    health, detail, failed = _health(platforms, environment, target_name)
    now = services.clock.now()
    started, track = _since(data, settings, now)
    track = track.seen(now, health)
    verdict = judge_track(settings, track, started_at=started, now=now, alert_firing=_firing(services, data, firing))
    if verdict is None:
        if data.looks == 0:
            _rest(services, data)
        stable = track.stable(settings)
        pause = max(settings.interval, _SILENCE_POLL_SECONDS) if stable else settings.interval
        return data.parked(
            now + timedelta(seconds=pause),
            "silence" if stable else "health",
            verify_started_at=started,
            health=track,
            looks=data.looks + 1,
        )
    services.note_alone(
        data,
        "verified",
        remedy=plan.plan.remedy,
        verdict=verdict,
        health=health,
        detail=detail,
        alerts_firing=len(firing),
        looks=data.looks + 1,
    )
    if verdict is not Verdict.INEFFECTIVE and data.origin is Origin.HUMAN:
        seen = f"and {target_name} is healthy" if verdict is Verdict.EFFECTIVE else f"but {detail}"
        return data.to(Stage.CLOSE, verdict=verdict, reason=f"every step was carried out, {seen}")
    if verdict is Verdict.EFFECTIVE:
        return data.ending(
            AlertOutcome.HEALED,
            f"{plan.plan.remedy}: healthy, and the alert is silent",
            verdict=verdict,
            discounted=tuple(alert.fingerprint for alert in firing),
        )
    if verdict is Verdict.INCONCLUSIVE:
        reason = f"inconclusive: {target_name} looks healthy, but silence was not seen in {settings.confirm_within:g} s"
        if failed is not None:
            reason = blind(
                f"{plan.plan.remedy or 'the plan'} was carried out, but whether it helped is not seen", [failed]
            )
        return data.ending(AlertOutcome.ESCALATED, reason, verdict=verdict)
    reason = f"{plan.plan.remedy or 'the plan'}: not healthy within {settings.within:g} s: {detail}"
    return data.to(Stage.UNDO, verdict=verdict, reason=reason)


def _rest(services: Services, data: RunData) -> None:
    """From now on the run only looks whether it worked: another of its environment may act."""
    environment, _ = data.place

    def rest(connection: Connection) -> None:
        slots.rest(connection, data.run_id)
        records.wake_queued(connection, environment, None, services.clock.now())

    services.later(rest)


def _since(data: RunData, settings: VerifySettings, now: datetime) -> tuple[datetime, HealthTrack]:
    """When `within` began, and what was seen since. Time in which nobody looked does not count against the remedy:
    UICI was away, or the clock was set.
    """
    started = data.verify_started_at or now
    if data.health.looked_at is None:
        return now, data.health
    unseen = now - data.health.looked_at
    if unseen < timedelta(0):
        return now, HealthTrack()
    # Some of each pause does count: under load every pause is long, and the looking must still come to an end.
    counted = timedelta(seconds=2 * max(settings.interval, _SILENCE_POLL_SECONDS))
    return started + max(timedelta(0), unseen - counted), data.health


def undo(services: Services, data: RunData) -> RunData:
    """Restore configuration, newest step first; only where the state is still the one we left."""
    plan = services.plan(data.cid)
    platforms = services.platforms_of(data)
    if data.undoing:
        data = _undone(services, data, plan)
    waiting = [item for item in reversed(data.done) if item.step not in data.undone]
    for item in waiting:
        step = inverse_step(plan.steps[item.step], item.before)
        why_not = _reason_to_leave(platforms, plan, item)
        if step is None and why_not is None:
            why_not = "the state before is not known well enough to restore it"
        if step is None or why_not is not None:
            services.note_alone(data, "undo_skipped", operation=plan.steps[item.step].operation.name, reason=why_not)
            data = data.model_copy(update={"undone": (*data.undone, item.step)})
            continue
        inverse = Plan(
            environment=plan.plan.environment,
            steps=(step,),
            origin=plan.plan.origin,
            reason=f"undo of {plan.steps[item.step].operation.name}: {data.reason}",
            strategy=plan.plan.strategy,
            remedy=plan.plan.remedy,
        )
        try:
            prepared = platforms.prepare(inverse)
        except Problem as problem:
            return data.ending(AlertOutcome.ESCALATED, f"undo cannot be translated: {problem.detail}")
        return data.to(Stage.CAPTURE, **FIRST_CALL, undoing=True, undo_cid=services.keep_plan(prepared), step=0)
    return data.to(Stage.NEXT)


def next_rung(services: Services, data: RunData) -> RunData:
    """On to the next remedy, with a fresh diagnosis; the slot goes back and is taken again under the live policy."""
    if data.left_to_people:
        return data.ending(AlertOutcome.ESCALATED, data.reason)
    if data.origin is not Origin.RULE:
        return data.to(Stage.CLOSE)

    def give_back(connection: Connection) -> None:
        slots.release(connection, data.run_id)
        outcomes.keep_outcome(connection, data, services.clock.now())

    services.later(give_back)
    return data.to(Stage.DIAGNOSE, fence=None)


def _health(platforms: Platforms, environment: str, target: str) -> tuple[bool | None, str, Failure | None]:
    """Whether it is healthy, what is not, and why that could not be seen."""
    try:
        seen = platforms.read(environment, target, "check_service_health")
    except (CallError, Problem) as error:
        return None, str(error), Failure.of(environment, error)
    bad = [f"{check['name']}: {check['detail']}" for check in seen.get("checks", []) if not check.get("ok")]
    return seen.get("healthy") is True, "; ".join(bad) or f"state {seen.get('state')}", None


def _firing(services: Services, data: RunData, firing: list[Alert]) -> bool | None:
    """Whether any alert still fires: what Alertmanager told us, or earlier what Prometheus says itself."""
    if not firing:
        return False
    settings = services.platforms_of(data).site.environments[data.environment or ""].prometheus
    if settings is None:
        return True
    client = PrometheusClient(settings)
    answers = [alert_fires(client, alert) for alert in firing]
    if True in answers:
        return True
    return None if None in answers else False


def _reason_to_leave(platforms: Platforms, plan: PreparedPlan, item: DoneStep) -> str | None:
    step = plan.steps[item.step]
    if step.operation.inverse is None:
        return step.operation.irreversible_because or "it has no inverse"
    if item.after is None:
        return "the state it left could not be read"
    try:
        present = kept_state(platforms, plan, step)
    except (CallError, Problem) as error:
        return f"the present state could not be read: {error}"
    if present != item.after:
        return "the present state is not the one this run left: somebody else changed it since"
    if present == item.before:
        return "the state is already the one before"
    health, _, _ = _health(platforms, plan.plan.environment, step.step.target)
    if health:
        return "the target has become healthy"
    return None


def _undone(services: Services, data: RunData, plan: PreparedPlan) -> RunData:
    item = next(item for item in reversed(data.done) if item.step not in data.undone)
    step = plan.steps[item.step]
    try:
        left = difference(item.before, kept_state(services.platforms_of(data), plan, step))
    except (CallError, Problem) as error:
        services.note_alone(
            data, "undone", operation=step.operation.name, error=f"its state could not be read: {error}"
        )
    else:
        services.note_alone(data, "undone", operation=step.operation.name, difference=left)
    return data.model_copy(
        update={"undoing": False, "undo_cid": None, "undone": (*data.undone, item.step), "restored": True}
    )
