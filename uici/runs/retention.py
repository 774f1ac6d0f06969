"""How long what has ended is kept, kind by kind.

A kind says which of its rows are too old, and what goes with them. It is looked for without the lock for writing, and
looked at again with it, since something may have come in between. Nothing open is ever too old, nor what something
needs that is kept: an incident with an alert that is still delivered, a message that is still to be sent, a plan of a
run that is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, Table, and_, func, or_, select, true, tuple_

from uici.model.incident import IncidentState
from uici.model.retention import RetentionSettings
from uici.runs.data import RunState
from uici.store.inserting import RENEWED_WITHIN, insert_into
from uici.store.observed import observed
from uici.store.outbox import DeliveryState
from uici.store.schema import (
    alerts,
    approvals,
    attempts,
    catalogues,
    choices,
    deliveries,
    events,
    feedback,
    incidents,
    kept_results,
    outbox,
    outcomes,
    plans,
    runs,
    slots,
)
from uici.store.sums import outcome_sums

Deleted = Counter[str]
"""How many rows went, by table."""
_Rows = Sequence[Row[Any]]
_UNSETTLED = (DeliveryState.PENDING, DeliveryState.HELD)


@dataclass(frozen=True)
class Kind:
    """Rows of one table that are kept equally long."""

    name: str
    table: Table
    seconds: Callable[[RetentionSettings], float]
    old: Callable[[Connection, datetime], ColumnElement[bool]]
    """Which are too old when those of before that moment are. It may ask the database."""
    still: Callable[[datetime], ColumnElement[bool]] | None = None
    """As `old`, for the look under the lock, where that one would take too long."""
    with_them: Callable[[Connection, _Rows], Deleted] = field(default=lambda connection, rows: Counter())
    """Deletes what belongs to these rows, and says how much that was."""
    after: str | None = None
    """The table of which something must have gone first in the same round, or nothing can be too old here."""

    @property
    def keys(self) -> tuple[Column[Any], ...]:
        """The columns that name a row."""
        return tuple(self.table.primary_key.columns)

    def find(self, connection: Connection, before: datetime, most: int) -> _Rows:
        """Rows that are too old, by their keys."""
        old = self.old(connection, before)
        return connection.execute(select(*self.keys).where(old).order_by(*self.keys).limit(most)).all()

    def count(self, connection: Connection, before: datetime) -> int:
        """How many rows are too old."""
        counted = select(func.count()).select_from(self.table).where(self.old(connection, before))
        return connection.execute(counted).scalar_one()

    def delete(self, connection: Connection, found: _Rows, before: datetime) -> Deleted:
        """Delete those of the rows that are still too old, with what belongs to them."""
        among = tuple_(*self.keys).in_([tuple(row) for row in found])
        still = self.still(before) if self.still is not None else self.old(connection, before)
        rows = connection.execute(select(*self.keys).where(among, still)).all()
        if not rows:
            return Counter()
        gone = self.with_them(connection, rows)
        among = tuple_(*self.keys).in_([tuple(row) for row in rows])
        gone[self.table.name] += connection.execute(self.table.delete().where(among)).rowcount
        return gone


def _unended(run_id: ColumnElement[Any]) -> ColumnElement[bool]:
    return select(runs.c.id).where(runs.c.id == run_id, runs.c.state != RunState.ENDED).exists()


def _open(incident_id: ColumnElement[Any]) -> ColumnElement[bool]:
    return select(incidents.c.id).where(incidents.c.id == incident_id, incidents.c.state == IncidentState.OPEN).exists()


def _unsettled(*of: ColumnElement[bool]) -> ColumnElement[bool]:
    """A message that waits: it is not decided yet who gets it, or somebody has not got it."""
    waiting = select(deliveries.c.message_id).where(
        deliveries.c.message_id == outbox.c.id, deliveries.c.state.in_(_UNSETTLED)
    )
    return select(outbox.c.id).where(*of, or_(outbox.c.routed_at.is_(None), waiting.exists())).exists()


def _up_to(connection: Connection, number: Column[Any], at: Column[Any], before: datetime) -> ColumnElement[bool]:
    """The rows of a table that only grows up to the first one that is young enough: no other is looked at."""
    young = connection.execute(select(number).where(at >= before).order_by(number).limit(1)).scalar()
    return true() if young is None else number < young


# --- which are too old --------------------------------------------------------------------------------------------


def _old_incidents(connection: Connection, before: datetime) -> ColumnElement[bool]:
    here = incidents.c.id
    delivered = select(alerts.c.fingerprint).where(alerts.c.incident_id == here, alerts.c.last_seen >= before)
    at_work = select(runs.c.id).where(
        runs.c.incident_id == here, or_(runs.c.state != RunState.ENDED, runs.c.ended_at >= before)
    )
    return and_(
        incidents.c.opened_at < before,  # no condition of its own, but this one has an index
        incidents.c.state != IncidentState.OPEN,
        incidents.c.closed_at < before,
        ~delivered.exists(),
        ~at_work.exists(),
        ~_unsettled(outbox.c.incident_id == here),
    )


def _old_alerts(connection: Connection, before: datetime) -> ColumnElement[bool]:
    return and_(alerts.c.incident_id.is_(None), alerts.c.last_seen < before)


def _old_runs(connection: Connection, before: datetime) -> ColumnElement[bool]:
    held = select(slots.c.run_id).where(slots.c.run_id == runs.c.id)
    return and_(runs.c.incident_id.is_(None), runs.c.state == RunState.ENDED, runs.c.ended_at < before, ~held.exists())


def _old_events(connection: Connection, before: datetime) -> ColumnElement[bool]:
    return and_(
        _up_to(connection, events.c.seq, events.c.at, before),
        ~_unended(events.c.run_id),
        ~_open(events.c.incident_id),
    )


def _old_calls(connection: Connection, before: datetime) -> ColumnElement[bool]:
    return and_(_up_to(connection, attempts.c.id, attempts.c.sent_at, before), ~_unended(attempts.c.run_id))


def _old_results(connection: Connection, before: datetime) -> ColumnElement[bool]:
    return and_(_up_to(connection, kept_results.c.id, kept_results.c.at, before), ~_open(kept_results.c.incident_id))


def _old_messages(connection: Connection, before: datetime) -> ColumnElement[bool]:
    waiting = select(deliveries.c.message_id).where(
        deliveries.c.message_id == outbox.c.id, deliveries.c.state.in_(_UNSETTLED)
    )
    return and_(
        _up_to(connection, outbox.c.id, outbox.c.created_at, before),
        outbox.c.routed_at.is_not(None),
        ~waiting.exists(),
        ~_unended(outbox.c.run_id),
        ~_open(outbox.c.incident_id),
    )


def _old_held_back(connection: Connection, before: datetime) -> ColumnElement[bool]:
    return and_(observed.c.at < before, ~_unended(observed.c.run_id), ~_open(observed.c.incident_id))


def _old_outcomes(connection: Connection, before: datetime) -> ColumnElement[bool]:
    return and_(outcomes.c.at < before, ~_unended(outcomes.c.run_id))


def _without_outcome(table: Table) -> Callable[[Connection, datetime], ColumnElement[bool]]:
    def old(connection: Connection, before: datetime) -> ColumnElement[bool]:
        same = and_(outcomes.c.run_id == table.c.run_id, outcomes.c.rung == table.c.rung)
        return and_(table.c.at < before, ~select(outcomes.c.run_id).where(same).exists(), ~_unended(table.c.run_id))

    return old


def _unused(table: Table, name: Column[Any], *users: Select[Any]) -> Callable[[Connection, datetime], Any]:
    """What nobody refers to. Whoever begins to refer to one renews its date first (`insert_or_renew`)."""

    def old(connection: Connection, before: datetime) -> ColumnElement[bool]:
        unused = [name.not_in(user) for user in users]
        return and_(_not_renewed(table)(before), *unused)

    return old


def _not_renewed(table: Table) -> Callable[[datetime], ColumnElement[bool]]:
    return lambda before: table.c.created_at < before


def _named_in_data(key: str) -> Select[Any]:
    named = runs.c.data[key].as_string()
    return select(named).where(named.is_not(None))


# --- what goes with them ------------------------------------------------------------------------------------------


def _forget_runs(connection: Connection, run_ids: Sequence[str]) -> Deleted:
    gone: Deleted = Counter()
    for table in (approvals, attempts, observed, events):
        gone[table.name] += connection.execute(table.delete().where(table.c.run_id.in_(run_ids))).rowcount
    return gone


def _forget_messages(connection: Connection, of: ColumnElement[bool]) -> Deleted:
    ids = connection.execute(select(outbox.c.id).where(of)).scalars().all()
    gone: Deleted = Counter()
    if ids:
        gone["deliveries"] = connection.execute(deliveries.delete().where(deliveries.c.message_id.in_(ids))).rowcount
        gone["outbox"] = connection.execute(outbox.delete().where(outbox.c.id.in_(ids))).rowcount
    return gone


def _of_incidents(connection: Connection, rows: _Rows) -> Deleted:
    ids = [row.id for row in rows]
    of_them = connection.execute(select(runs.c.id).where(runs.c.incident_id.in_(ids))).scalars().all()
    gone = _forget_runs(connection, of_them)
    gone += _forget_messages(connection, outbox.c.incident_id.in_(ids))
    for table in (kept_results, events, runs, alerts):
        gone[table.name] += connection.execute(table.delete().where(table.c.incident_id.in_(ids))).rowcount
    return gone


def _of_runs(connection: Connection, rows: _Rows) -> Deleted:
    return _forget_runs(connection, [row.id for row in rows])


def _of_messages(connection: Connection, rows: _Rows) -> Deleted:
    ids = [row.id for row in rows]
    return Counter(deliveries=connection.execute(deliveries.delete().where(deliveries.c.message_id.in_(ids))).rowcount)


def _sum_up(connection: Connection, rows: _Rows) -> Deleted:
    """What is learned from outcomes fades; how often a remedy helped stays."""
    among = tuple_(outcomes.c.run_id, outcomes.c.rung).in_([tuple(row) for row in rows])
    verdict = func.coalesce(outcomes.c.verdict, "")
    of = (outcomes.c.strategy, outcomes.c.remedy, outcomes.c.environment, verdict)
    summed = select(
        *(
            column.label(name)
            for column, name in zip(of, ("strategy", "remedy", "environment", "verdict"), strict=True)
        ),
        func.count().label("outcomes"),
        func.count(outcomes.c.reward).label("rewarded"),
        func.coalesce(func.sum(outcomes.c.reward), 0.0).label("reward"),
        func.min(outcomes.c.at).label("first_at"),
        func.max(outcomes.c.at).label("last_at"),
    )
    for row in connection.execute(summed.where(among).group_by(*of[:3], verdict)).mappings().all():
        adding = insert_into(connection, outcome_sums).values(dict(row))
        more = {name: outcome_sums.c[name] + adding.excluded[name] for name in ("outcomes", "rewarded", "reward")}
        connection.execute(
            adding.on_conflict_do_update(
                index_elements=["strategy", "remedy", "environment", "verdict"],
                set_={**more, "last_at": adding.excluded.last_at},
            )
        )
    return Counter()


def _renewal(settings: RetentionSettings) -> float:
    return 2 * RENEWED_WITHIN.total_seconds()


KINDS = (
    Kind("incidents", incidents, lambda kept: kept.incidents_seconds, _old_incidents, with_them=_of_incidents),
    Kind("alerts without incident", alerts, lambda kept: kept.incidents_seconds, _old_alerts),
    Kind("runs asked for by people", runs, lambda kept: kept.incidents_seconds, _old_runs, with_them=_of_runs),
    Kind("events", events, lambda kept: kept.events_seconds, _old_events),
    Kind("calls", attempts, lambda kept: kept.calls_seconds, _old_calls),
    Kind("kept results", kept_results, lambda kept: kept.results_seconds, _old_results),
    Kind("messages", outbox, lambda kept: kept.messages_seconds, _old_messages, with_them=_of_messages),
    Kind("held back", observed, lambda kept: kept.held_back_seconds, _old_held_back),
    Kind("outcomes", outcomes, lambda kept: kept.outcomes_seconds, _old_outcomes, with_them=_sum_up),
    Kind("choices", choices, lambda kept: kept.outcomes_seconds, _without_outcome(choices)),
    Kind("feedback", feedback, lambda kept: kept.outcomes_seconds, _without_outcome(feedback)),
    Kind(
        "plans",
        plans,
        _renewal,
        _unused(
            plans,
            plans.c.cid,
            select(runs.c.cid).where(runs.c.cid.is_not(None)),
            _named_in_data("undo_cid"),
            select(approvals.c.cid),
            select(observed.c.cid),
        ),
        still=_not_renewed(plans),
        after="runs",
    ),
    Kind(
        "catalogues",
        catalogues,
        _renewal,
        _unused(catalogues, catalogues.c.digest, _named_in_data("catalogue")),
        still=_not_renewed(catalogues),
        after="runs",
    ),
)
"""In this order: what goes with an incident goes with it, and the rest by itself."""


def too_old(kind: Kind, settings: RetentionSettings, now: datetime) -> datetime | None:
    """Before which moment rows of a kind are too old; None where they are kept for ever."""
    seconds = kind.seconds(settings)
    return now - timedelta(seconds=seconds) if seconds else None
