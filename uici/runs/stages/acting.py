"""Carrying out the calls of a plan: capture what proof and undo need, announce, send, settle, confirm.

At-least-once is the engine's promise for a stage; that nothing is done twice is ours. A mutating call is
announced in a row before it is sent. A stage that finds an announcement without a settlement does not send
again: it asks the platform's state whether the call happened, and believes "no" only after the call's longest
time in flight.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from uici.model.alert import AlertOutcome
from uici.model.base import JsonObject
from uici.model.builtin import OF_THE_RUN, PROPOSE, WAIT
from uici.model.call import LEFT_TO_PEOPLE, Call, CallError, FailureKind, Happened
from uici.model.condition import all_hold
from uici.model.errors import Problem
from uici.model.masking import mask
from uici.model.plan import Origin, PreparedPlan, PreparedStep
from uici.model.settings import MessageKind
from uici.model.verdict import Verdict
from uici.notify.messages import asked_message
from uici.runs import records
from uici.runs.bounded import BoundedCalls
from uici.runs.changes import difference
from uici.runs.data import FIRST_CALL, DoneStep, RunData, Stage, meets_self
from uici.runs.keeping import note_step
from uici.runs.looking import effect, kept_state, unmet
from uici.runs.platforms import Platforms
from uici.runs.proposing import propose_change
from uici.runs.records import DONE, FAILED, NOT_DONE, PROVED, UNKNOWN
from uici.runs.services import Services
from uici.runs.stages.opening import further
from uici.store.clock import elapsed
from uici.store.outbox import enqueue
from uici.translation.selections import operation_result
from uici.verification.judging import HealthTrack

_PROOF_POLL = timedelta(seconds=0.5)
_PROOF_PATIENCE = timedelta(minutes=10)
"""How long beyond a call's time in flight an unreachable platform is asked whether the call happened."""


def plan_of(services: Services, data: RunData) -> PreparedPlan:
    """The plan under way: the undo plan while undoing."""
    return services.plan(data.undo_cid if data.undoing else data.cid)


def capture(services: Services, data: RunData) -> RunData:
    """Look before acting: preconditions, the state that undo would restore, the state that proof compares with."""
    plan = plan_of(services, data)
    step = plan.steps[data.step]
    environment = plan.plan.environment
    platforms = services.platforms_of(data)
    before, started = data.before, data.step_started_at
    try:
        if started is None:  # once for each step; a look that failed is made again
            if step.operation.preconditions:
                status = platforms.read(environment, step.step.target, "get_service_status")
                if not all_hold(step.operation.preconditions, status):
                    wanted = "; ".join(condition.describe() for condition in step.operation.preconditions)
                    return failed(services, data, f"precondition of {step.operation.name} does not hold: {wanted}")
            before = kept_state(platforms, plan, step)
            started = services.clock.now()
        call = ready_call(platforms, plan, step, data)
        call_before = platforms.performer(environment, step).before(call) if call.mutates else {}
    except (CallError, Problem) as error:
        return _again_or_failed(services, data, f"could not look before {step.operation.name}: {error}", error)
    return data.to(Stage.SEND, before=before, call_before=call_before, step_started_at=started)


def send(services: Services, data: RunData) -> RunData:
    """Send one call, or settle one that was announced before a crash."""
    plan = plan_of(services, data)
    step = plan.steps[data.step]
    call = ready_call(services.platforms_of(data), plan, step, data)
    if call.name in OF_THE_RUN:
        return _call_of_the_run(services, data, plan, step, call)
    if not call.mutates:
        return _look(services, data, plan, call)
    position = _position(data)
    known = _attempt(services, data, position)
    if known is None:
        return _announce(services, data, plan, call, position) or _perform(services, data, plan, call, position)
    data = data.having_acted()
    if known.outcome in (DONE, PROVED):
        return _next_call(services, data, plan, call, known.result or {})
    if known.outcome is None:
        return _prove(services, data, plan, call, position, known)
    return _unsuccessful(services, data, plan, call, known.outcome, known.detail)


def confirm(services: Services, data: RunData) -> RunData:
    """Check that the operation had its own effect, and keep the state it left, before the next step."""
    plan = plan_of(services, data)
    step = plan.steps[data.step]
    check = step.operation.verification
    now = services.clock.now()
    if check is not None:
        deadline = data.confirm_deadline or now + timedelta(seconds=check.within_seconds)
        try:
            seen = effect(services.platforms_of(data), plan, step, data.results)
            holds, why = all_hold(check.expect, seen), "; ".join(item.describe() for item in check.expect)
        except (CallError, Problem) as error:
            holds, why = False, str(error)
        if not holds:
            if now < deadline:
                pause = min(0.2 + 0.1 * data.looks, 2.0)
                return data.parked(
                    now + timedelta(seconds=pause), "confirm", confirm_deadline=deadline, looks=data.looks + 1
                )
            reason = f"{step.operation.name} had no effect within {check.within_seconds:g} s: wanted {why}"
            return failed(services, _remember(services, data, plan, step), reason)
    return _next_step(services, _remember(services, data, plan, step), plan)


def failed(services: Services, data: RunData, reason: str) -> RunData:
    """A step could not be carried out: this rung is over; what it changed is undone."""
    services.note_alone(data, "step_failed", reason=reason)
    if data.undoing:
        return data.ending(AlertOutcome.ESCALATED, f"undo failed: {reason}", undoing=False, verdict=Verdict.INEFFECTIVE)
    return data.to(Stage.UNDO if data.done else Stage.NEXT, verdict=Verdict.INEFFECTIVE, reason=reason)


def ready_call(platforms: Platforms, plan: PreparedPlan, step: PreparedStep, data: RunData) -> Call:
    """The call under way with its selections filled in. Raises Problem when it cannot be made of what came before."""
    call = platforms.ready(plan.plan.environment, step, step.calls[data.call], data.results)
    return call.model_copy(update={"key": f"{data.run_id}:{_position(data)}"})


def _look(services: Services, data: RunData, plan: PreparedPlan, call: Call) -> RunData:
    """Send a call that only reads; again later, where it is repeated until something holds."""
    poll = call.poll
    try:
        result = _performer(services, data, plan).perform(call)
    except CallError as error:
        if poll is None or error.kind is FailureKind.PERMANENT:
            return _again_or_failed(services, data, f"{call.name}: {error}", error)
        why = str(error)
    else:
        if poll is None or all_hold(poll.until, result):
            return _next_call(services, data, plan, call, result)
        why = unmet(poll.until, result)
    now = services.clock.now()
    deadline = data.poll_deadline or _later(now, poll.within_seconds)
    if now >= deadline:
        reason = f"{call.name}: not so within {poll.within_seconds:g} s: {why}"
        return _again_or_failed(services, data, reason, CallError(FailureKind.PERMANENT, "not_yet", reason))
    again = min(_later(now, poll.every_seconds), deadline)
    return _interrupted(services, data) or data.parked(again, "poll", poll_deadline=deadline)


def _interrupted(services: Services, data: RunData) -> RunData | None:
    # Nothing is in flight, so this may be interrupted like a stage that only looks; undo goes on to its end.
    if data.undoing:
        return None
    with services.store.read() as connection:
        return records.interruption(connection, data, planning=False)


def _left_to_people(services: Services, data: RunData, reason: str) -> RunData:
    """A step would meet UICI itself, or somebody else decides here: what was done is undone, and people are told."""
    data = _with_earlier_calls(services, data)
    if data.undoing or (data.origin is Origin.HUMAN and not meets_self(reason)):
        return failed(services, data, reason)
    if not data.done:
        services.note_alone(data, "step_failed", reason=reason)
        data = data if data.step or data.call else data.not_having_acted()
        refused = meets_self(reason) and not data.acted
        return data.ending(AlertOutcome.REFUSED if refused else AlertOutcome.ESCALATED, reason)
    return failed(services, data.model_copy(update={"left_to_people": True}), reason)


def _performer(services: Services, data: RunData, plan: PreparedPlan) -> BoundedCalls:
    return services.platforms_of(data).performer(plan.plan.environment, plan.steps[data.step])


def _remember(services: Services, data: RunData, plan: PreparedPlan, step: PreparedStep) -> RunData:
    if data.undoing or step.operation.before is None:
        return data
    after: JsonObject | None = None
    try:
        after = kept_state(services.platforms_of(data), plan, step)
    except (CallError, Problem) as error:
        # Without it undo cannot tell whether the state is still ours, and so will leave it alone.
        services.note_alone(data, "after_state_unknown", operation=step.operation.name, error=str(error))
    if after is not None and (changed := difference(data.before, after)):
        services.note_alone(data, "changed", operation=step.operation.name, difference=changed)
    return data.model_copy(update={"done": (*data.done, DoneStep(step=data.step, before=data.before, after=after))})


def _announce(services: Services, data: RunData, plan: PreparedPlan, call: Call, position: str) -> RunData | None:
    """Announce a call; or what becomes of the run, where in this very transaction something forbids to send it."""
    with services.writing() as connection:
        # Only here, since many may be waiting to write: what is sent late counts from the announcement on.
        now, announced_at = services.clock.now(), elapsed()
        if (forbidden := records.forbidden(connection, data)) is not None:
            return forbidden
        # The run goes no further than its announcement tells: what proof and undo need is written with it.
        records.save(connection, data, data, now)
        announced = {
            "run_id": data.run_id,
            "position": position,
            "number": data.attempt,
            "call": call.name,
            "arguments": mask(call.arguments),
            "mutates": True,
            "fence": data.fence,
            "before": data.call_before,
            "sent_at": now,
        }
        connection.execute(records.ANNOUNCE, announced)
        connection.execute(records.ACTED, {"run": data.run_id, "now": now})
        sent = {"operation": plan.steps[data.step].operation.name, "attempt": data.attempt, "undo": data.undoing}
        services.note(connection, data, "call_sent", call=call.name, position=position, **sent)
    services.check_may_send(data, announced_at)
    return None


def _perform(services: Services, data: RunData, plan: PreparedPlan, call: Call, position: str) -> RunData:
    data = data.having_acted()
    try:
        result = _performer(services, data, plan).perform(call)
    except CallError as error:
        if error.kind is FailureKind.UNKNOWN:
            services.note_alone(data, "call_unknown", call=call.name, error=error.message, code=error.code)
            return data.parked(services.clock.now() + _PROOF_POLL, "proof")
        outcome = NOT_DONE if error.kind is FailureKind.TEMPORARY else FAILED
        detail = f"{error.code}: {error.message}"
        _settle(services, data, call, position, outcome, detail=detail)
        return _unsuccessful(services, data, plan, call, outcome, detail)
    last = data.call + 1 == len(plan.steps[data.step].calls)
    _settle(services, data, call, position, DONE, result=result, last=last)
    return _next_call(services, data, plan, call, result)


def _prove(
    services: Services, data: RunData, plan: PreparedPlan, call: Call, position: str, known: Row[Any]
) -> RunData:
    """An announced call without an answer: ask the platform's state, never the clock alone."""
    now = services.clock.now()
    flight_over = _later(known.sent_at, call.in_flight_seconds + services.workers.latest_sending)
    try:
        happened = _performer(services, data, plan).happened(call, known.before)
    except (CallError, Problem) as error:
        if now < flight_over + _PROOF_PATIENCE:
            return data.parked(now + _PROOF_POLL * 2, "proof")
        happened, why = Happened.UNKNOWN, f"the platform could not be asked: {error}"
    else:
        why = "its state does not show whether the call was carried out"
    if happened is Happened.YES:
        _settle(services, data, call, position, PROVED, detail="the platform's state shows it")
        return _next_call(services, data, plan, call, {})
    if happened is Happened.NO and now >= flight_over:
        _settle(services, data, call, position, NOT_DONE, detail="the platform's state shows that it did not happen")
        return _unsuccessful(services, data, plan, call, NOT_DONE, "it did not reach the platform")
    if now < flight_over and call.provable:
        return data.parked(min(now + _PROOF_POLL, flight_over), "proof")
    _settle(services, data, call, position, UNKNOWN, detail=why)
    return _unsuccessful(services, data, plan, call, UNKNOWN, why)


def _unsuccessful(
    services: Services, data: RunData, plan: PreparedPlan, call: Call, outcome: str, detail: str
) -> RunData:
    if outcome == UNKNOWN:
        reason = f"unknown: {call.name} may or may not have been carried out: {detail}"
        return data.ending(AlertOutcome.ESCALATED, reason)
    if meets_self(detail) or detail.partition(":")[0] in LEFT_TO_PEOPLE:
        return _left_to_people(services, data, detail)
    settings = services.site().platform.runs
    if outcome == NOT_DONE and data.attempt + 1 < settings.read_attempts:
        until = services.clock.now() + timedelta(seconds=settings.retry_seconds * 2**data.attempt)
        return data.to(Stage.CAPTURE, attempt=data.attempt + 1).parked(until, "retry")
    # What earlier calls of the step changed, or this one before it failed for good, is undone with it.
    return failed(services, _remember(services, data, plan, plan.steps[data.step]), f"{call.name}: {detail}")


def _next_call(services: Services, data: RunData, plan: PreparedPlan, call: Call, result: JsonObject) -> RunData:
    step = plan.steps[data.step]
    results = {**data.results, call.id: result}
    if data.call + 1 < len(step.calls):
        return data.to(Stage.CAPTURE, call=data.call + 1, attempt=0, results=results, poll_deadline=None)
    note_step(services, data, step.operation, operation_result(step, results))
    return data.to(Stage.CONFIRM, results=results, looks=0, confirm_deadline=None, poll_deadline=None)


def _next_step(services: Services, data: RunData, plan: PreparedPlan) -> RunData:
    if data.step + 1 < len(plan.steps):
        return data.to(Stage.CAPTURE, **FIRST_CALL, step=data.step + 1, looks=0)
    if data.undoing:
        return data.to(Stage.UNDO)
    if data.told and not data.acted:
        return data.ending(AlertOutcome.ESCALATED, "by_rule: the remedy tells a human")
    if data.origin is Origin.HUMAN and plan.health_gate is None:
        return data.to(Stage.CLOSE, verdict=Verdict.EFFECTIVE, reason="every step was carried out and confirmed")
    return data.to(Stage.VERIFY, verify_started_at=services.clock.now(), health=HealthTrack(), looks=0)


def _again_or_failed(services: Services, data: RunData, reason: str, error: CallError | Problem) -> RunData:
    settings = services.site().platform.runs
    temporary = isinstance(error, CallError) and error.kind is not FailureKind.PERMANENT
    if isinstance(error, CallError) and (meets_self(error.code) or error.code in LEFT_TO_PEOPLE):
        return _left_to_people(services, data, f"{error.code}: {error.message}")
    if temporary and data.attempt + 1 < settings.read_attempts:
        until = services.clock.now() + timedelta(seconds=settings.retry_seconds * 2**data.attempt)
        return data.to(Stage.CAPTURE, attempt=data.attempt + 1).parked(until, "retry")
    return failed(services, _with_earlier_calls(services, data), reason)


def _with_earlier_calls(services: Services, data: RunData) -> RunData:
    """The run with a step that did not come to its end among what undo looks at, if a call of it changed something."""
    if data.call == 0:
        return data
    plan = plan_of(services, data)
    changed = any(call.mutates for call in plan.steps[data.step].calls[: data.call])
    return _remember(services, data, plan, plan.steps[data.step]) if changed else data


def _call_of_the_run(services: Services, data: RunData, plan: PreparedPlan, step: PreparedStep, call: Call) -> RunData:
    if call.name == WAIT:
        until = _later(data.step_started_at or services.clock.now(), float(call.arguments["seconds"]))
        if services.clock.now() < until:
            return _interrupted(services, data) or data.parked(until, "wait")
        return _next_call(services, data, plan, call, {})
    told = data.model_copy(update={"told": True})
    if call.name == PROPOSE:
        patch = propose_change(services, data, _position(data), call.arguments)
        return _next_call(services, told, plan, call, {"patch": patch})
    with services.writing() as connection:
        enqueue(
            connection,
            f"step:{data.run_id}:{_position(data)}",
            MessageKind.ESCALATION,
            asked_message(
                run=data.run_id,
                incident=data.incident_id,
                operation=step.operation.name,
                environment=data.environment,
                target=data.target,
                why=str(call.arguments.get("message", "")),
                findings=data.findings,
                guides=further(services, data, records.alerts_of(connection, data.incident_id or "")),
            ),
            services.clock.now(),
            severity=records.severity_of(connection, data.incident_id),
            incident=data.incident_id,
            run=data.run_id,
        )
    return _next_call(services, told, plan, call, {})


def _position(data: RunData) -> str:
    return f"{'undo' if data.undoing else 'do'}:{data.undo_cid if data.undoing else data.cid}:{data.step}:{data.call}"


def _attempt(services: Services, data: RunData, position: str) -> Row[Any] | None:
    with services.store.read() as connection:
        return connection.execute(
            records.ATTEMPT, {"run": data.run_id, "place": position, "try": data.attempt}
        ).one_or_none()


def _settle(
    services: Services,
    data: RunData,
    call: Call,
    position: str,
    outcome: str,
    *,
    detail: str = "",
    result: JsonObject | None = None,
    last: bool = False,
) -> None:
    """Write down what became of a call; after the `last` of a step, together with the run that goes on from there."""
    settled = {
        "run": data.run_id,
        "place": position,
        "try": data.attempt,
        "new_outcome": outcome,
        "new_detail": detail,
        "new_result": result,
        "new_settled_at": services.clock.now(),
    }
    services.later(lambda connection: connection.execute(records.SETTLE, settled))
    event = "call_done" if outcome in (DONE, PROVED) else "call_failed"
    services.note_alone(data, event, call=call.name, outcome=outcome, detail=detail)
    if not last:
        services.write_now()


def _later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
