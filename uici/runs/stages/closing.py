"""The last stage: every alert of the incident gets its one outcome, people are told once, the slot goes back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from uici.model.alert import Alert, AlertOutcome
from uici.model.background import Background
from uici.model.base import JsonObject
from uici.model.incident import Incident, IncidentState
from uici.model.settings import MessageKind
from uici.model.topology import topology_of
from uici.model.verdict import Verdict
from uici.notify.messages import Tried, incident_message, outcome_message, run_message
from uici.runs import dependence, outcomes, records, slots
from uici.runs.consulting import BY_COUNCIL
from uici.runs.data import RunData, RunState, Stage
from uici.runs.questions import Fate
from uici.runs.services import Services
from uici.runs.stages.opening import choose_strategy, further
from uici.store.outbox import enqueue
from uici.store.schema import alerts, approvals, incidents, plans, runs
from uici.verification.judging import HealthTrack

_TELLING = {AlertOutcome.ESCALATED: MessageKind.ESCALATION, AlertOutcome.REFUSED: MessageKind.REFUSED}
_FATES = {AlertOutcome.REFUSED: Fate.REFUSED, AlertOutcome.OBSERVED: Fate.OBSERVED}
_GOOD = frozenset({AlertOutcome.HEALED, AlertOutcome.SELF_RESOLVED})

_STATE = select(runs.c.state).where(runs.c.id == bindparam("run"))
_ACTED_AT = select(runs.c.acted_at).where(runs.c.id == bindparam("run"))
# What the run was about as well: a run that acts on nothing is written for the first time here.
_ENDED = ("environment", "target", "cid", "ended_at", "outcome", "verdict", "reason", "data")
_END = (
    runs.update()
    .where(runs.c.id == bindparam("run"))
    .values(state=RunState.ENDED, stage=Stage.ENDED, due_at=None, waiting_for="")
    .values({name: bindparam(f"new_{name}") for name in _ENDED})
)
_WITHDRAW = (
    approvals.update()
    .where(approvals.c.run_id == bindparam("run"), approvals.c.state == "pending")
    .values(state="withdrawn", decided_at=bindparam("now"))
)
_CLOSE_INCIDENT = (
    incidents.update()
    .where(incidents.c.id == bindparam("incident"), incidents.c.state == IncidentState.OPEN)
    .values(state=IncidentState.CLOSED, closed_at=bindparam("now"))
    .values({name: bindparam(f"new_{name}") for name in ("outcome", "reason")})
)
_CLOSE_ALERTS = (
    alerts.update()
    .where(alerts.c.incident_id == bindparam("incident"), alerts.c.outcome.is_(None))
    .values({name: bindparam(f"new_{name}") for name in ("outcome", "reason")})
)


def close(services: Services, data: RunData) -> RunData:
    """End the run and its incident in one transaction."""
    now = services.clock.now()
    with services.writing() as connection:
        if connection.execute(_STATE, {"run": data.run_id}).scalar_one() == RunState.ENDED:
            return data.to(Stage.ENDED)  # before a crash
        again = _joined_since(connection, services, data, now)
        if again is not None:
            return again
        outcomes.keep_outcome(connection, data, now)
        _end(connection, services, data)
        _tell(connection, services, data)
    last = data.tried[-1] if data.tried else ""
    if data.outcome in _FATES and last.startswith(BY_COUNCIL) and last not in data.acted_with:
        services.questions.planned(_FATES[data.outcome])
    services.wake()
    return data.to(Stage.ENDED)


def end_plainly(connection: Connection, services: Services, data: RunData) -> None:
    """End a run whose closing fails again and again: nothing stays locked, and people get a message without details."""
    _end(connection, services, data)
    message = run_message(
        kind=MessageKind.ESCALATION,
        run=data.run_id,
        title=f"the run {data.run_id} could not be closed in order",
        environment=data.environment,
        target=data.target,
        why=data.reason,
        incident=data.incident_id,
    )
    _enqueue(connection, services, data, f"end:{data.run_id}", MessageKind.ESCALATION, message)


def _end(connection: Connection, services: Services, data: RunData) -> None:
    now = services.clock.now()
    slots.release(connection, data.run_id)
    if data.environment is not None:
        records.wake_queued(connection, data.environment, data.target, now)
    ended = {
        "new_environment": data.environment,
        "new_target": data.target,
        "new_cid": data.cid,
        "new_ended_at": now,
        "new_outcome": data.outcome,
        "new_verdict": data.verdict,
        "new_reason": data.reason,
        "new_data": data.model_dump(mode="json", exclude_defaults=True),
    }
    if data.waited is not None or topology_of(services.site()).any:
        dependence.wake(connection, data, now)
    connection.execute(_END, {"run": data.run_id} | ended)
    connection.execute(_WITHDRAW, {"run": data.run_id, "now": now})
    if data.incident_id is not None:
        told = {"incident": data.incident_id, "new_outcome": data.outcome, "new_reason": data.reason}
        connection.execute(_CLOSE_INCIDENT, told | {"now": now})
        connection.execute(_CLOSE_ALERTS, told)
    services.note(
        connection,
        data,
        "run_ended",
        outcome=data.outcome,
        verdict=data.verdict,
        reason=data.reason,
    )


def _joined_since(connection: Connection, services: Services, data: RunData, now: datetime) -> RunData | None:
    """Where an alert joined on the way to this transaction, of which the outcome knows nothing: the run, looking again.

    The other outcomes are told to people with all that fires, or say of the target that nothing is done there.
    """
    if data.incident_id is None:
        return None
    firing = {alert.fingerprint for alert in records.firing_alerts(connection, data.incident_id)}
    if data.outcome is AlertOutcome.SELF_RESOLVED and firing:
        begin = Stage.TARGET if data.target is None else Stage.HOLD
        return data.to(begin, outcome=None, reason="", tried=data.tried if data.acted else ())
    if data.outcome is AlertOutcome.HEALED and firing - set(data.discounted):
        verifying = services.plan(data.cid).health_gate
        if verifying is not None and verifying.confirm_within > 0:
            return data.to(Stage.VERIFY, outcome=None, verdict=None, verify_started_at=now, health=HealthTrack())
    return None


def _tell(connection: Connection, services: Services, data: RunData) -> None:
    kind = _TELLING.get(data.outcome) if data.outcome is not None else None
    if data.outcome is AlertOutcome.OBSERVED and data.proposing:
        kind = MessageKind.PROPOSAL
    if kind is None and data.verdict is Verdict.INEFFECTIVE:
        kind = MessageKind.ESCALATION
    wanted = services.site().platform.notify.outcomes_wanted
    if kind is None and not wanted:
        return
    incident = _incident(connection, data)
    # What the plan itself told people is not told again; nor is having given up, until it was tried and failed again.
    if kind is not None and not (data.told and not data.acted and data.outcome is AlertOutcome.ESCALATED):
        key = f"end:{data.run_id}"
        if data.gave_up:
            key = f"gave_up:{records.last_ineffective_run(connection, *data.place)}"
        _enqueue(connection, services, data, key, kind, _message(connection, services, data, kind, incident))
    if incident is not None and wanted:
        _tell_outcome(connection, services, data, incident, kind)


def _tell_outcome(
    connection: Connection, services: Services, data: RunData, incident: Incident, told_as: MessageKind | None
) -> None:
    """How it ended, for those who asked to hear of it: what is good, and what a remedy did not help."""
    if data.outcome is None or (data.outcome not in _GOOD and not data.acted):
        return
    message = outcome_message(
        incident=incident,
        outcome=data.outcome,
        why=data.reason,
        tried=_tried(data),
        ended_at=services.clock.now(),
        acted_at=connection.execute(_ACTED_AT, {"run": data.run_id}).scalar_one(),
        told_as=told_as,
    )
    _enqueue(connection, services, data, f"outcome:{data.run_id}", MessageKind.OUTCOME, message)


def _enqueue(
    connection: Connection, services: Services, data: RunData, key: str, kind: MessageKind, message: JsonObject
) -> None:
    enqueue(
        connection,
        key,
        kind,
        message,
        services.clock.now(),
        severity=records.severity_of(connection, data.incident_id),
        incident=data.incident_id,
        run=data.run_id,
    )


def _incident(connection: Connection, data: RunData) -> Incident | None:
    row = connection.execute(select(incidents).where(incidents.c.id == data.incident_id)).one_or_none()
    return Incident.model_validate({name: getattr(row, name) for name in Incident.model_fields}) if row else None


def _message(
    connection: Connection, services: Services, data: RunData, kind: MessageKind, incident: Incident | None
) -> JsonObject:
    document = connection.execute(select(plans.c.document).where(plans.c.cid == data.cid)).scalar_one_or_none()
    steps = [step["step"] for step in (document or {}).get("steps", [])]
    if incident is None:
        return run_message(
            kind=kind,
            run=data.run_id,
            title=f"the run {data.run_id} on {data.environment}/{data.target} ended",
            environment=data.environment,
            target=data.target,
            why=data.reason,
            plan=steps,
        )
    its_alerts = records.alerts_of(connection, incident.id)
    return incident_message(
        kind=kind,
        incident=incident,
        why=data.reason,
        findings=data.findings,
        tried=_tried(data),
        plan=steps,
        what_to_do=_advice(services, data, its_alerts),
        background=Background.of(its_alerts),
        guides=further(services, data, its_alerts),
    )


def _advice(services: Services, data: RunData, its_alerts: list[Alert]) -> tuple[str, ...]:
    """What the strategy's author advises; also where the run ended before it was chosen."""
    site = services.platforms_of(data).site
    chosen = choose_strategy(site, its_alerts)
    strategy = site.strategies.get(data.strategy or (chosen[0] if chosen is not None else ""))
    return strategy.advice if strategy is not None else ()


def _tried(data: RunData) -> list[Tried]:
    return [
        Tried(remedy=name, verdict=data.verdict, undone=data.restored)
        if name == data.tried[-1]
        else Tried(remedy=name, verdict=Verdict.INEFFECTIVE)
        for name in data.acted_with
    ]
