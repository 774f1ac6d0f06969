"""Reading and writing the rows that several stages share."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from uici.model.alert import Alert, AlertOutcome, AlertStatus
from uici.model.plan import PreparedPlan
from uici.model.verdict import Verdict
from uici.runs.data import RunData, RunState
from uici.store.schema import alerts, freezes, plans, runs


def firing_alerts(connection: Connection, incident_id: str) -> list[Alert]:
    """The alerts of an incident that still fire, oldest first."""
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
            .where(alerts.c.incident_id == incident_id, alerts.c.status == AlertStatus.FIRING)
            .order_by(alerts.c.first_seen, alerts.c.fingerprint)
        )
    ]


def still_firing(connection: Connection, incident_id: str) -> int:
    """How many alerts of an incident still fire."""
    return connection.execute(
        select(func.count())
        .select_from(alerts)
        .where(alerts.c.incident_id == incident_id, alerts.c.status == AlertStatus.FIRING)
    ).scalar_one()


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
    """When the last run on the target ended that counts for its rest: not those that had nothing to do."""
    return connection.execute(
        select(func.max(runs.c.ended_at)).where(
            runs.c.environment == environment,
            runs.c.target == target,
            runs.c.state == RunState.ENDED,
            or_(
                runs.c.acted_at.is_not(None),
                runs.c.outcome.not_in([AlertOutcome.SELF_RESOLVED, AlertOutcome.SUPERSEDED]),
            ),
        )
    ).scalar_one_or_none()


def ineffective_runs(connection: Connection, environment: str, target: str, since: datetime) -> int:
    """How many runs on the target since then changed something and did not heal it."""
    return connection.execute(
        select(func.count())
        .select_from(runs)
        .where(
            runs.c.environment == environment,
            runs.c.target == target,
            runs.c.state == RunState.ENDED,
            runs.c.ended_at >= since,
            runs.c.acted_at.is_not(None),
            runs.c.verdict.in_([Verdict.INEFFECTIVE, Verdict.INCONCLUSIVE]),
        )
    ).scalar_one()


def acted_since(connection: Connection, environment: str, since: datetime, *, except_run: str) -> int:
    """How many other runs of the environment began to act since then."""
    return connection.execute(
        select(func.count())
        .select_from(runs)
        .where(runs.c.environment == environment, runs.c.acted_at >= since, runs.c.id != except_run)
    ).scalar_one()


def freeze_in_force(connection: Connection) -> tuple[str, str] | None:
    """Who froze everything and why; None while nothing is frozen."""
    row = connection.execute(select(freezes).where(freezes.c.id == 1)).one_or_none()
    return (row.actor, row.reason) if row is not None and row.frozen else None


def wake_waiting(connection: Connection, environment: str, now: datetime) -> None:
    """Let the runs that wait for a slot in this environment look again, the oldest first."""
    connection.execute(
        runs.update()
        .where(
            runs.c.environment == environment,
            runs.c.state == RunState.WAITING,
            runs.c.waiting_for == "slot",
        )
        .values(due_at=now)
    )


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
