"""Reading and writing the rows that several stages share."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from uici.model.alert import Alert, AlertOutcome, AlertStatus
from uici.model.plan import Origin, PreparedPlan
from uici.model.verdict import Verdict
from uici.runs import slots
from uici.runs.data import RunData, RunState
from uici.store.schema import alerts, attempts, freezes, incidents, plans, runs
from uici.store.schema import slots as slot_rows

DONE, PROVED, NOT_DONE, FAILED, UNKNOWN = "done", "proved_done", "not_done", "failed", "unknown"
"""Outcomes of an attempt."""

_WOKEN = 4


def firing_alerts(connection: Connection, incident_id: str) -> list[Alert]:
    """The alerts of an incident that still fire, oldest first."""
    return alerts_of(connection, incident_id, alerts.c.status == AlertStatus.FIRING)


def alerts_of(connection: Connection, incident_id: str, *only: ColumnElement[bool]) -> list[Alert]:
    """The alerts of an incident, oldest first; of them `only` some."""
    return [
        Alert.model_construct(
            fingerprint=row.fingerprint,
            status=AlertStatus(row.status),
            labels=row.labels,
            annotations=row.annotations,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            generator_url=row.generator_url,
        )
        for row in connection.execute(
            select(alerts)
            .where(alerts.c.incident_id == incident_id, *only)
            .order_by(alerts.c.first_seen, alerts.c.fingerprint)
        )
    ]


def severity_of(connection: Connection, incident_id: str | None) -> str:
    """The severity of an incident as its first alert gave it; empty where there is no incident."""
    return connection.execute(select(incidents.c.severity).where(incidents.c.id == incident_id)).scalar() or ""


def still_firing(connection: Connection, incident_id: str) -> int:
    """How many alerts of an incident still fire."""
    return connection.execute(
        select(func.count())
        .select_from(alerts)
        .where(alerts.c.incident_id == incident_id, alerts.c.status == AlertStatus.FIRING)
    ).scalar_one()


def forbidden(connection: Connection, data: RunData) -> RunData | None:
    """What may have come between the guards and this call: another holder, a freeze, a person, silence."""
    try:
        slots.check(connection, data.environment or "", data.target or "", data.run_id, data.fence)
    except slots.FencedError:
        reason = "fenced: another run has taken the target over; nothing was sent"
        return data.ending(AlertOutcome.ESCALATED, reason, undoing=False)
    frozen = freeze_in_force(connection)
    if frozen is not None:
        by, why = frozen
        left = "; what the run had changed stays as it is" if data.acted else ""
        reason = f"freeze: everything is frozen by {by}: {why or 'no reason given'}{left}"
        outcome = AlertOutcome.ESCALATED if data.acted else AlertOutcome.REFUSED
        return data.ending(outcome, reason, undoing=False)
    return None if data.undoing else interruption(connection, data, planning=False)


def interruption(connection: Connection, data: RunData, *, planning: bool) -> RunData | None:
    """Reasons to end early: cancelled by a person, or every alert went silent before the plan changed anything.

    `planning`: its next plan has not been begun for sure.
    """
    row = connection.execute(select(runs.c.cancel_by, runs.c.cancel_reason).where(runs.c.id == data.run_id)).one()
    if row.cancel_by is not None:
        left = "; what it had changed stays as it is" if data.acted else ""
        reason = f"cancelled by {row.cancel_by}: {row.cancel_reason or 'no reason given'}{left}"
        return data.ending(AlertOutcome.REFUSED, reason)
    if data.incident_id is None or still_firing(connection, data.incident_id) > 0:
        return None
    if not planning and begun(connection, data):
        return None
    when = "although the last remedy was not proved to work" if data.acted else "before anything was done"
    return data.ending(AlertOutcome.SELF_RESOLVED, f"every alert was resolved {when}")


def begun(connection: Connection, data: RunData) -> bool:
    """Whether a call of the present plan was sent and is not known to have failed to arrive."""
    return (
        connection.execute(
            select(attempts.c.id).where(
                attempts.c.run_id == data.run_id,
                attempts.c.position.startswith(f"do:{data.cid}:", autoescape=True),
                or_(attempts.c.outcome.is_(None), attempts.c.outcome != NOT_DONE),
            )
        ).first()
        is not None
    )


def keep_plan(connection: Connection, plan: PreparedPlan, now: datetime) -> str:
    """Store the snapshot of a plan under its `cid`, and return it."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    cid = plan.cid
    connection.execute(
        insert(plans)
        .values(cid=cid, document=plan.model_dump(mode="json", exclude_unset=True), created_at=now)
        .on_conflict_do_nothing(index_elements=["cid"])
    )
    return cid


def load_plan(connection: Connection, cid: str) -> PreparedPlan:
    """The snapshot of a plan, as it was when the run made it."""
    return PreparedPlan.model_validate(
        connection.execute(select(plans.c.document).where(plans.c.cid == cid)).scalar_one()
    )


def last_run_ended(connection: Connection, environment: str, target: str) -> datetime | None:
    """When the last run on the target ended that counts for its rest.

    That is one that changed something, or in which UICI came to an end of its own: not one whose alerts went silent,
    and not a person's that was refused.
    """
    return connection.execute(
        select(func.max(runs.c.ended_at)).where(
            runs.c.environment == environment,
            runs.c.target == target,
            runs.c.state == RunState.ENDED,
            or_(
                runs.c.acted_at.is_not(None),
                and_(
                    runs.c.origin != Origin.HUMAN,
                    runs.c.outcome.not_in([AlertOutcome.SELF_RESOLVED, AlertOutcome.SUPERSEDED]),
                ),
            ),
        )
    ).scalar_one_or_none()


def ineffective_runs(connection: Connection, environment: str, target: str, since: datetime) -> int:
    """How many runs on the target since then changed something and did not heal it."""
    return connection.execute(
        select(func.count()).select_from(runs).where(*_ineffective(environment, target), runs.c.ended_at >= since)
    ).scalar_one()


def last_ineffective_run(connection: Connection, environment: str, target: str) -> str | None:
    """The id of the last run on the target that changed something and did not heal it."""
    return connection.execute(
        select(runs.c.id).where(*_ineffective(environment, target)).order_by(runs.c.ended_at.desc()).limit(1)
    ).scalar_one_or_none()


def _ineffective(environment: str, target: str) -> tuple[ColumnElement[bool], ...]:
    return (
        runs.c.environment == environment,
        runs.c.target == target,
        runs.c.state == RunState.ENDED,
        runs.c.acted_at.is_not(None),
        runs.c.verdict.in_([Verdict.INEFFECTIVE, Verdict.INCONCLUSIVE]),
    )


def begun_since(connection: Connection, environment: str, since: datetime, *, except_run: str) -> int:
    """How many other runs of the environment began to act since then, or are about to."""
    about_to = select(slot_rows.c.run_id).where(slot_rows.c.environment == environment, slot_rows.c.run_id.is_not(None))
    return connection.execute(
        select(func.count())
        .select_from(runs)
        .where(
            runs.c.environment == environment,
            runs.c.id != except_run,
            or_(runs.c.acted_at >= since, and_(runs.c.acted_at.is_(None), runs.c.id.in_(about_to))),
        )
    ).scalar_one()


def freeze_in_force(connection: Connection) -> tuple[str, str] | None:
    """Who froze everything and why; None while nothing is frozen."""
    row = connection.execute(select(freezes).where(freezes.c.id == 1)).one_or_none()
    return (row.actor, row.reason) if row is not None and row.frozen else None


def count_queued(connection: Connection, environment: str) -> int:
    """How many runs wait for a slot in this environment."""
    return connection.execute(select(func.count()).select_from(runs).where(_queued(environment))).scalar_one()


def wake_queued(connection: Connection, environment: str, target: str | None, now: datetime) -> None:
    """A slot is free: let those who wait for this target look again, and the oldest few of the others.

    Not all: with a thousand that wait, nine hundred would look in vain each time.
    """
    oldest = select(runs.c.id).where(_queued(environment)).order_by(runs.c.created_at).limit(_WOKEN)
    connection.execute(
        runs.update()
        .where(_queued(environment), or_(runs.c.id.in_(oldest), runs.c.target == target))
        .values(due_at=now)
    )


def _queued(environment: str) -> ColumnElement[bool]:
    return and_(runs.c.environment == environment, runs.c.state == RunState.WAITING, runs.c.waiting_for == "slot")


def save(connection: Connection, before: RunData, after: RunData, now: datetime) -> bool:
    """Write a run's new state; False when this part is no longer the run's present one."""
    values: dict[str, object] = {
        "stage": after.stage,
        "environment": after.environment,
        "target": after.target,
        "cid": after.cid,
        "verdict": after.verdict,
        "reason": after.reason,
    }
    here = (runs.c.id == before.run_id) & (runs.c.part == before.part) & (runs.c.state == RunState.ACTIVE)
    if after.wait is None:
        values |= {"data": after.model_dump(mode="json", exclude_defaults=True)}
        return connection.execute(runs.update().where(here).values(values)).rowcount == 1
    # Somebody may have woken the run while this stage was at work: then `due_at` is set, and it looks again at once.
    parked = after.model_copy(update={"part": after.part + 1, "wait": None})
    woken = connection.execute(select(runs.c.due_at).where(here)).scalar_one_or_none()
    values |= {
        "data": parked.model_dump(mode="json", exclude_defaults=True),
        "state": RunState.WAITING,
        "part": parked.part,
        "due_at": now if woken is not None else after.wait.until,
        "waiting_for": after.wait.reason,
    }
    return connection.execute(runs.update().where(here).values(values)).rowcount == 1
