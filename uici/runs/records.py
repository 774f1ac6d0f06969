"""Reading and writing the rows that several stages share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnClause, Connection, Select, and_, bindparam, func, literal_column, or_, select, true

from uici.model.alert import Alert, AlertOutcome, AlertStatus
from uici.model.plan import Origin, PreparedPlan
from uici.model.verdict import Verdict
from uici.runs import slots
from uici.runs.data import RunData, RunState
from uici.runs.frozen import frozen_partly
from uici.store.database import Store
from uici.store.freezes import partial_freezes
from uici.store.inserting import insert_or_renew
from uici.store.schema import alerts, attempts, freezes, incidents, plans, runs, vetoes
from uici.store.schema import slots as slot_rows

DONE, PROVED, NOT_DONE, FAILED, UNKNOWN = "done", "proved_done", "not_done", "failed", "unknown"
"""Outcomes of an attempt."""


_WOKEN = 4
_PLANS_KEPT = 256
"""Parsed plans in memory: those of the runs at work, and of those that look again and again."""


def _fixed(value: StrEnum) -> ColumnClause[str]:
    """A value that never changes, in the statement's text: a parameter is bound anew at each execution."""
    return literal_column(f"'{value}'")


# Statements are built once: building one costs several times what SQLite needs to carry it out.
_ALERTS = (
    select(alerts)
    .where(alerts.c.incident_id == bindparam("incident"))
    .order_by(alerts.c.first_seen, alerts.c.fingerprint)
)
_FIRING_ALERTS = _ALERTS.where(alerts.c.status == AlertStatus.FIRING)
_INTERRUPTION = select(
    runs.c.cancel_by,
    runs.c.cancel_reason,
    select(alerts.c.fingerprint)
    .where(alerts.c.incident_id == bindparam("incident"), alerts.c.status == AlertStatus.FIRING)
    .exists()
    .label("firing"),
).where(runs.c.id == bindparam("run"))
_BEGUN = (
    select(attempts.c.id)
    .where(
        attempts.c.run_id == bindparam("run"),
        attempts.c.position.startswith(bindparam("position"), autoescape=False),
        or_(attempts.c.outcome.is_(None), attempts.c.outcome != NOT_DONE),
    )
    .limit(1)
)
_CALL = (
    attempts.c.run_id == bindparam("run"),
    attempts.c.position == bindparam("place"),
    attempts.c.number == bindparam("try"),
)
ATTEMPT = select(attempts).where(*_CALL)
ANNOUNCE = attempts.insert()
ACTED = runs.update().where(runs.c.id == bindparam("run"), runs.c.acted_at.is_(None)).values(acted_at=bindparam("now"))
SETTLE = (
    attempts.update()
    .where(*_CALL)
    .values({name: bindparam(f"new_{name}") for name in ("outcome", "detail", "result", "settled_at")})
)
_PLAN = select(plans.c.document).where(plans.c.cid == bindparam("cid"))
_HERE = (runs.c.environment == bindparam("place"), runs.c.target == bindparam("aim"))
_LAST_RUN_ENDED = select(func.max(runs.c.ended_at)).where(
    *_HERE,
    runs.c.state == _fixed(RunState.ENDED),
    or_(
        runs.c.acted_at.is_not(None),
        and_(
            runs.c.origin != _fixed(Origin.HUMAN),
            runs.c.outcome != _fixed(AlertOutcome.SELF_RESOLVED),
            runs.c.outcome != _fixed(AlertOutcome.SUPERSEDED),
        ),
    ),
)
_INEFFECTIVE = (
    *_HERE,
    runs.c.state == _fixed(RunState.ENDED),
    runs.c.acted_at.is_not(None),
    or_(runs.c.verdict == _fixed(Verdict.INEFFECTIVE), runs.c.verdict == _fixed(Verdict.INCONCLUSIVE)),
)
_INEFFECTIVE_RUNS = select(func.count()).select_from(runs).where(*_INEFFECTIVE, runs.c.ended_at >= bindparam("window"))
_LAST_INEFFECTIVE_RUN = select(runs.c.id).where(*_INEFFECTIVE).order_by(runs.c.ended_at.desc()).limit(1)
_ACTED = and_(runs.c.environment == bindparam("place"), runs.c.acted_at >= bindparam("since"))
# Counted in the index alone, this run with them, which is then taken off.
_BEGUN_SINCE = select(
    select(func.count()).select_from(runs).where(_ACTED).scalar_subquery()
    - select(func.count()).select_from(runs).where(_ACTED, runs.c.id == bindparam("run")).scalar_subquery()
    + select(func.count())
    .select_from(slot_rows.join(runs, runs.c.id == slot_rows.c.run_id))
    .where(
        slot_rows.c.environment == bindparam("place"),
        slot_rows.c.run_id.is_not(None),
        runs.c.environment == bindparam("place"),
        runs.c.acted_at.is_(None),
        runs.c.id != bindparam("run"),
    )
    .scalar_subquery()
)
# The fields of `Standing`, in one statement, and with those of `Live`.
_STANDING = select(
    slots.SLOT.with_only_columns(slot_rows.c.run_id).scalar_subquery().label("holder"),
    slots.ACTING.scalar_subquery().label("acting"),
    _LAST_RUN_ENDED.scalar_subquery().label("last_run_ended"),
    _INEFFECTIVE_RUNS.scalar_subquery().label("ineffective_runs"),
    _BEGUN_SINCE.scalar_subquery().label("begun_since"),
)
_FROZEN = (freezes.c.id == literal_column("1"), freezes.c.frozen.is_(true()))
_LIVE = _STANDING.add_columns(
    select(freezes.c.actor).where(*_FROZEN).scalar_subquery().label("frozen_by"),
    select(freezes.c.reason).where(*_FROZEN).scalar_subquery().label("frozen_because"),
    select(partial_freezes.c.id).exists().label("any_partial"),
    select(vetoes.c.id).where(vetoes.c.lifted_at.is_(None)).exists().label("any_veto"),
)
_FREEZE = select(
    select(freezes.c.actor).where(*_FROZEN).scalar_subquery().label("frozen_by"),
    select(freezes.c.reason).where(*_FROZEN).scalar_subquery().label("frozen_because"),
    select(partial_freezes.c.id).exists().label("any_partial"),
)
# A literal, so that the index of those who wait for a slot is used.
_QUEUED = and_(
    runs.c.environment == bindparam("place"),
    runs.c.state == RunState.WAITING,
    runs.c.waiting_for == literal_column("'slot'"),
)
_COUNT_QUEUED = select(func.count()).select_from(runs).where(_QUEUED)
_WAKE_QUEUED = (
    runs.update()
    .where(
        _QUEUED,
        or_(
            runs.c.id.in_(select(runs.c.id).where(_QUEUED).order_by(runs.c.created_at).limit(_WOKEN)),
            runs.c.target == bindparam("freed"),
        ),
    )
    .values(due_at=bindparam("now"))
)
_PRESENT = and_(runs.c.id == bindparam("run"), runs.c.part == bindparam("present"), runs.c.state == RunState.ACTIVE)
_OWN = select(runs.c.id).where(_PRESENT, runs.c.worker == bindparam("worker"))
_SAVED = ("stage", "environment", "target", "cid", "verdict", "reason", "data")
_PARKED = (*_SAVED, "part", "due_at", "waiting_for")
_SAVE = runs.update().where(_PRESENT).values({name: bindparam(f"new_{name}") for name in _SAVED})
_PARK = (
    runs.update()
    .where(_PRESENT)
    .values({name: bindparam(f"new_{name}") for name in _PARKED} | {"state": RunState.WAITING})
)
_WOKEN_AT = select(runs.c.due_at).where(_PRESENT)

_plans: OrderedDict[str, PreparedPlan] = OrderedDict()
_plans_lock = threading.Lock()


class Standing(NamedTuple):
    """How a target and its environment stand, beside the run that asks."""

    holder: str | None
    """The run that holds the target's slot."""
    acting: int
    """How many other runs of the environment are acting now."""
    last_run_ended: datetime | None
    """When the last run on the target ended that counts for its rest: one that changed something, or in which UICI
    came to an end of its own. Not one whose alerts went silent, and not a person's that was refused.
    """
    ineffective_runs: int
    """How many runs on the target changed something and did not heal it, since the beginning of a window."""
    begun_since: int
    """How many other runs of the environment began to act since a moment, or are about to."""


class Live(NamedTuple):
    """All that the guards ask of the store."""

    standing: Standing
    frozen: tuple[str, str] | None
    """As `freeze_in_force`."""
    any_veto: bool


class StalePartError(Exception):
    """Somebody else has taken the run further; whoever holds this part must stop quietly."""


def firing_alerts(connection: Connection, incident_id: str) -> list[Alert]:
    """The alerts of an incident that still fire, oldest first."""
    return _alerts(connection, _FIRING_ALERTS, incident_id)


def alerts_of(connection: Connection, incident_id: str) -> list[Alert]:
    """The alerts of an incident, oldest first."""
    return _alerts(connection, _ALERTS, incident_id)


def _alerts(connection: Connection, statement: Select[Any], incident_id: str) -> list[Alert]:
    return [
        Alert(
            fingerprint=row.fingerprint,
            status=AlertStatus(row.status),
            labels=row.labels,
            annotations=row.annotations,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            generator_url=row.generator_url,
        )
        for row in connection.execute(statement, {"incident": incident_id})
    ]


def severity_of(connection: Connection, incident_id: str | None) -> str:
    """The severity of an incident as its first alert gave it; empty where there is no incident."""
    return connection.execute(select(incidents.c.severity).where(incidents.c.id == incident_id)).scalar() or ""


def forbidden(connection: Connection, data: RunData) -> RunData | None:
    """What may have come between the guards and this call: another holder, a freeze, a person, silence."""
    try:
        slots.check(connection, data.environment or "", data.target or "", data.run_id, data.fence)
    except slots.FencedError:
        reason = "fenced: another run has taken the target over; nothing was sent"
        return data.ending(AlertOutcome.ESCALATED, reason, undoing=False)
    frozen = freeze_in_force(connection, data.environment or "", data.target or "")
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
    row = connection.execute(_INTERRUPTION, {"run": data.run_id, "incident": data.incident_id}).one()
    if row.cancel_by is not None:
        left = "; what it had changed stays as it is" if data.acted else ""
        reason = f"cancelled by {row.cancel_by}: {row.cancel_reason or 'no reason given'}{left}"
        return data.ending(AlertOutcome.REFUSED, reason)
    if data.incident_id is None or row.firing:
        return None
    if not planning and begun(connection, data):
        return None
    when = "although the last remedy was not proved to work" if data.acted else "before anything was done"
    code = ""
    if data.waited is not None and not data.acted:
        healed = data.waited.healed_at is not None
        code = "healed_by_dependency: " if healed else ""
        when = f"{'once' if healed else 'while it waited for'} {data.waited.root}{' was healed' if healed else ''}"
        when += "; nothing was done here"
    return data.ending(AlertOutcome.SELF_RESOLVED, f"{code}every alert was resolved {when}")


def begun(connection: Connection, data: RunData) -> bool:
    """Whether a call of the present plan was sent and is not known to have failed to arrive."""
    position = f"do:{data.cid}:"
    return connection.execute(_BEGUN, {"run": data.run_id, "position": position}).first() is not None


def keep_plan(connection: Connection, cid: str, plan: PreparedPlan, now: datetime) -> None:
    """Store the snapshot of a plan under its `cid`."""
    document = plan.model_dump(mode="json", exclude_unset=True)
    insert_or_renew(connection, plans, "cid", {"cid": cid, "document": document}, now)
    _remember(cid, plan)


def load_plan(store: Store, cid: str) -> PreparedPlan:
    """The snapshot of a plan, as it was when the run made it. Parsed once: a `cid` is the hash of what it names."""
    with _plans_lock:
        known = _plans.get(cid)
        if known is not None:
            _plans.move_to_end(cid)
            return known
    with store.read() as connection:
        document = connection.execute(_PLAN, {"cid": cid}).scalar_one()
    return _remember(cid, PreparedPlan.model_validate(document))


def _remember(cid: str, plan: PreparedPlan) -> PreparedPlan:
    with _plans_lock:
        _plans[cid] = plan
        while len(_plans) > _PLANS_KEPT:
            _plans.popitem(last=False)
    return plan


def last_run_ended(connection: Connection, environment: str, target: str) -> datetime | None:
    """As `Standing.last_run_ended`."""
    found: datetime | None = connection.execute(
        _LAST_RUN_ENDED, {"place": environment, "aim": target}
    ).scalar_one_or_none()
    return found


def standing(
    connection: Connection, environment: str, target: str, run_id: str, *, window: datetime, since: datetime
) -> Standing:
    """What the guards ask of a target and its environment, beside the run itself."""
    known = {"place": environment, "aim": target, "run": run_id, "window": window, "since": since}
    return Standing(*connection.execute(_STANDING, known).one())


def live(
    connection: Connection, environment: str, target: str, run_id: str, *, window: datetime, since: datetime
) -> Live:
    """As `standing`, and what people have forbidden, in one statement."""
    known = {"place": environment, "aim": target, "run": run_id, "window": window, "since": since}
    *standing, by, because, any_partial, any_veto = connection.execute(_LIVE, known).one()
    return Live(Standing(*standing), _frozen(connection, environment, target, by, because, any_partial), any_veto)


def last_ineffective_run(connection: Connection, environment: str, target: str) -> str | None:
    """The id of the last run on the target that changed something and did not heal it."""
    here = {"place": environment, "aim": target}
    return connection.execute(_LAST_INEFFECTIVE_RUN, here).scalar_one_or_none()


def begun_since(connection: Connection, environment: str, since: datetime, *, except_run: str) -> int:
    """As `Standing.begun_since`."""
    known = {"place": environment, "since": since, "run": except_run}
    return int(connection.execute(_BEGUN_SINCE, known).scalar_one())


def freeze_in_force(connection: Connection, environment: str, target: str) -> tuple[str, str] | None:
    """Who froze everything, or this target, and why; None where nothing is frozen."""
    return _frozen(connection, environment, target, *connection.execute(_FREEZE).one())


def _frozen(
    connection: Connection, environment: str, target: str, by: str | None, because: str, any_partial: bool
) -> tuple[str, str] | None:
    if by is not None:
        return by, because
    return frozen_partly(connection, environment, target) if any_partial else None


def count_queued(connection: Connection, environment: str) -> int:
    """How many runs wait for a slot in this environment."""
    return connection.execute(_COUNT_QUEUED, {"place": environment}).scalar_one()


def wake_queued(connection: Connection, environment: str, target: str | None, now: datetime) -> None:
    """A slot is free: let those who wait for this target look again, and the oldest few of the others.

    Not all: with a thousand that wait, nine hundred would look in vain each time.
    """
    connection.execute(_WAKE_QUEUED, {"place": environment, "freed": target, "now": now})


def check_part(connection: Connection, run_id: str, part: int, worker: str) -> None:
    """Raise StalePartError unless this part is the run's present one, and this worker's."""
    if connection.execute(_OWN, {"run": run_id, "present": part, "worker": worker}).first() is None:
        raise StalePartError(f"{run_id} part {part}")


def save(connection: Connection, before: RunData, after: RunData, now: datetime) -> bool:
    """Write a run's new state; False when this part is no longer the run's present one."""
    present = {"run": before.run_id, "present": before.part}
    kept = after if after.wait is None else after.model_copy(update={"part": after.part + 1, "wait": None})
    values: dict[str, object] = {
        "new_stage": after.stage,
        "new_environment": after.environment,
        "new_target": after.target,
        "new_cid": after.cid,
        "new_verdict": after.verdict,
        "new_reason": after.reason,
        "new_data": kept.model_dump(mode="json", exclude_defaults=True),
    }
    if after.wait is None:
        return connection.execute(_SAVE, present | values).rowcount == 1
    # Somebody may have woken the run while this stage was at work: then `due_at` is set, and it looks again at once.
    woken = connection.execute(_WOKEN_AT, present).scalar_one_or_none()
    values |= {
        "new_part": kept.part,
        "new_due_at": now if woken is not None else after.wait.until,
        "new_waiting_for": after.wait.reason,
    }
    return connection.execute(_PARK, present | values).rowcount == 1
