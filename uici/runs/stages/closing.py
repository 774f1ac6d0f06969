"""The last stage: every alert of the incident gets its one outcome, people are told once, the slot goes back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from uici.model.alert import AlertOutcome
from uici.model.base import JsonObject
from uici.model.incident import Incident, IncidentState
from uici.model.verdict import Verdict
from uici.notify.messages import Tried, incident_message
from uici.runs import reading, records, slots
from uici.runs.data import RunData, RunState, Stage
from uici.runs.services import Services
from uici.store.outbox import enqueue
from uici.store.schema import alerts, approvals, incidents, plans, runs
from uici.verification.judging import HealthTrack

_TELLING = {AlertOutcome.ESCALATED: "escalation", AlertOutcome.REFUSED: "refused"}


def close(services: Services, data: RunData) -> RunData:
    """End the run and its incident in one transaction."""
    now = services.clock.now()
    with services.events.writing() as connection:
        if reading.run_row(connection, data.run_id).state == RunState.ENDED:
            return data.to(Stage.ENDED)  # before a crash
        again = _joined_since(connection, data, now)
        if again is not None:
            return again
        _end(connection, services, data)
        _tell(connection, services, data)
    services.wake()
    return data.to(Stage.ENDED)


def end_plainly(connection: Connection, services: Services, data: RunData) -> None:
    """End a run whose closing fails again and again: nothing stays locked, and people get a message without details."""
    _end(connection, services, data)
    message = {"title": f"the run {data.run_id} could not be closed in order", "why": data.reason, "run": data.run_id}
    now = services.clock.now()
    enqueue(connection, f"end:{data.run_id}", "escalation", message, now, incident=data.incident_id, run=data.run_id)


def _end(connection: Connection, services: Services, data: RunData) -> None:
    now = services.clock.now()
    slots.release(connection, data.run_id)
    if data.environment is not None:
        records.wake_queued(connection, data.environment, data.target, now)
    connection.execute(
        runs.update()
        .where(runs.c.id == data.run_id)
        .values(
            state=RunState.ENDED,
            stage=Stage.ENDED,
            ended_at=now,
            due_at=None,
            waiting_for="",
            outcome=data.outcome,
            verdict=data.verdict,
            reason=data.reason,
            data=data.model_dump(mode="json", exclude_defaults=True),
        )
    )
    connection.execute(
        approvals.update()
        .where(approvals.c.run_id == data.run_id, approvals.c.state == "pending")
        .values(state="withdrawn", decided_at=now)
    )
    if data.incident_id is not None:
        _close_incident(connection, services, data)
    services.note(
        connection,
        data,
        "run_ended",
        outcome=data.outcome,
        verdict=data.verdict,
        reason=data.reason,
    )


def _joined_since(connection: Connection, data: RunData, now: datetime) -> RunData | None:
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
        verifying = records.load_plan(connection, data.cid or "").health_gate
        if verifying is not None and verifying.confirm_within > 0:
            return data.to(Stage.VERIFY, outcome=None, verdict=None, verify_started_at=now, health=HealthTrack())
    return None


def _close_incident(connection: Connection, services: Services, data: RunData) -> None:
    now = services.clock.now()
    connection.execute(
        incidents.update()
        .where(incidents.c.id == data.incident_id, incidents.c.state == IncidentState.OPEN)
        .values(state=IncidentState.CLOSED, outcome=data.outcome, reason=data.reason, closed_at=now)
    )
    connection.execute(
        alerts.update()
        .where(alerts.c.incident_id == data.incident_id, alerts.c.outcome.is_(None))
        .values(outcome=data.outcome, reason=data.reason)
    )


def _tell(connection: Connection, services: Services, data: RunData) -> None:
    kind = _TELLING.get(data.outcome) if data.outcome is not None else None
    if data.outcome is AlertOutcome.OBSERVED and data.proposing:
        kind = "proposal"
    if kind is None and data.verdict is Verdict.INEFFECTIVE:
        kind = "escalation"
    # What the plan itself told people is not told again; nor is having given up, until it was tried and failed again.
    if kind is not None and not (data.told and not data.acted and data.outcome is AlertOutcome.ESCALATED):
        message = _message(connection, data, kind)
        key = f"end:{data.run_id}"
        if data.gave_up:
            key = f"gave_up:{records.last_ineffective_run(connection, *data.place)}"
        enqueue(
            connection,
            key,
            kind,
            message,
            services.clock.now(),
            incident=data.incident_id,
            run=data.run_id,
        )


def _message(connection: Connection, data: RunData, kind: str) -> JsonObject:
    document = connection.execute(select(plans.c.document).where(plans.c.cid == data.cid)).scalar_one_or_none()
    steps = [step["step"] for step in (document or {}).get("steps", [])]
    row = connection.execute(select(incidents).where(incidents.c.id == data.incident_id)).one_or_none()
    if row is None:
        place = f"{data.environment}/{data.target}"
        return {
            "title": f"the run {data.run_id} on {place} ended",
            "why": data.reason,
            "run": data.run_id,
            "plan": steps,
        }
    incident = Incident.model_validate({name: getattr(row, name) for name in Incident.model_fields})
    *earlier, last = data.tried or ("",)
    tried = [Tried(remedy=name, verdict=Verdict.INEFFECTIVE) for name in earlier]
    if last and data.acted:
        tried.append(Tried(remedy=last, verdict=data.verdict, undone=bool(data.undone)))
    message = incident_message(kind=kind, incident=incident, why=data.reason, findings=data.findings, tried=tried)
    return message | {"plan": steps}
