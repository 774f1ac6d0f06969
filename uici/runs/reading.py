"""Incidents and runs as people see them: JSON, masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from uici.events.log import Event, EventLog
from uici.model.background import Background, plain
from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind
from uici.model.masking import mask
from uici.model.scope import EVERYTHING, Scope
from uici.model.site import Site
from uici.runs import records
from uici.runs.outcomes import outcomes_of_run
from uici.store.database import Store
from uici.store.schema import alerts, approvals, attempts, incidents, kept_results, plans, runs
from uici.store.scoping import within


def list_incidents(
    store: Store, state: str | None, limit: int, before: str | None, scope: Scope = EVERYTHING
) -> list[JsonObject]:
    """Those within the scope, newest first; `before` is the id of the last one seen."""
    query = select(incidents).where(*within(scope, incidents.c)).order_by(incidents.c.id.desc()).limit(limit)
    with store.read() as connection:
        return [_shown(_incident(row)) for row in connection.execute(_page(query, incidents.c, state, before))]


def list_runs(
    store: Store, state: str | None, limit: int, before: str | None, scope: Scope = EVERYTHING
) -> list[JsonObject]:
    """Those within the scope, newest first; `before` is the id of the last one seen."""
    query = select(runs).where(*within(scope, runs.c)).order_by(runs.c.id.desc()).limit(limit)
    with store.read() as connection:
        return [_shown(_run(row)) for row in connection.execute(_page(query, runs.c, state, before))]


def one_incident(store: Store, events: EventLog, incident_id: str) -> JsonObject:
    """An incident with its alerts, findings, runs and timeline. Raises Problem when there is none."""
    with store.read() as connection:
        row = incident_row(connection, incident_id)
        its_alerts = connection.execute(
            select(alerts).where(alerts.c.incident_id == incident_id).order_by(alerts.c.first_seen)
        ).all()
        background = Background.of(records.alerts_of(connection, incident_id))
        its_runs = connection.execute(select(runs).where(runs.c.incident_id == incident_id).order_by(runs.c.id)).all()
        kept = connection.execute(
            select(kept_results).where(kept_results.c.incident_id == incident_id).order_by(kept_results.c.id)
        ).all()
    document = _incident(row) | {
        "annotations": background.texts,
        "links": [link.model_dump() for link in background.links],
        "findings": row.findings,
        "alerts": [_alert(item) for item in its_alerts],
        "runs": [_run(item) for item in its_runs],
        "kept_results": [
            {
                "id": item.id,
                "at": _time(item.at),
                "operation": item.operation,
                "phase": item.phase,
                "run": item.run_id,
                "bytes": item.bytes,
                "shortened": item.shortened,
            }
            for item in kept
        ],
    }
    # The event log masks by itself.
    return _shown(document) | {
        "timeline": [event.model_dump(mode="json") for event in events.read(incident=incident_id)]
    }


def one_run(store: Store, events: EventLog, run_id: str) -> JsonObject:
    """A run with its plan, its approvals, its calls and what they changed. Raises Problem when there is none."""
    with store.read() as connection:
        row = run_row(connection, run_id)
        document = connection.execute(select(plans.c.document).where(plans.c.cid == row.cid)).scalar_one_or_none()
        asked = connection.execute(
            select(approvals).where(approvals.c.run_id == run_id).order_by(approvals.c.requested_at)
        ).all()
        sent = connection.execute(select(attempts).where(attempts.c.run_id == run_id).order_by(attempts.c.id)).all()
        learned = outcomes_of_run(connection, run_id)
    shown = _run(row) | {
        "plan": document["plan"] if document else None,
        "steps": [
            {"step": step["step"], "calls": step["calls"], "undo": step["undo"]}
            for step in (document or {}).get("steps", [])
        ],
        "outcomes": learned,
        "approvals": [
            {
                "cid": item.cid,
                "state": item.state,
                "requested_at": _time(item.requested_at),
                "expires_at": _time(item.expires_at),
                "decided_at": _time(item.decided_at),
                "decided_by": item.decided_by,
                "comment": item.comment,
            }
            for item in asked
        ],
        "calls": [
            {
                "call": item.call,
                "position": item.position,
                "attempt": item.number,
                "arguments": item.arguments,
                "sent_at": _time(item.sent_at),
                "settled_at": _time(item.settled_at),
                "outcome": item.outcome,
                "detail": item.detail,
                "result": item.result,
            }
            for item in sent
        ],
    }
    # The event log masks by itself.
    return _shown(shown) | {"changes": list(_changes(events.read(run=run_id)))}


def _changes(timeline: Iterable[Event]) -> Iterator[JsonObject]:
    """One row for each value of the target's configuration that the run changed, restored or left as it was."""
    for event in timeline:
        if event.type not in ("changed", "undone", "undo_skipped"):
            continue
        row = {"at": event.at.isoformat(), "operation": event.data.get("operation"), "what": event.type}
        values = list(_values(event.data.get("difference") or {}))
        if event.type == "undone":
            # What undo restored is the same again, so a difference is what it could not restore.
            row["what"] = "restored in part" if values else "restored"
        elif event.type == "undo_skipped":
            row["what"] = "not undone"
        row["reason"] = event.data.get("reason") or event.data.get("error") or ""
        yield from ({**row, **value} for value in values or [{}])


def _values(difference: JsonObject) -> Iterator[JsonObject]:
    for name, change in difference.items():
        yield {"value": name, **change}


def list_targets(site: Site, scope: Scope = EVERYTHING) -> list[JsonObject]:
    """The managed services within the scope, each with those of its environments that are."""
    return [
        {
            "name": name,
            "summary": target.summary,
            "aliases": list(target.aliases),
            "group": target.group,
            "environments": places,
            "watch_only": target.watch_only,
            "autonomy": {place: site.autonomy_of(name, place) for place in places},
        }
        for name, target in sorted(site.targets.items())
        if (places := sorted(place for place in target.bindings if scope.covers(place, name))) or scope.everywhere
    ]


def place_of_run(store: Store, run_id: str) -> tuple[str | None, str | None]:
    """The environment and the target of a run. Raises Problem when there is none."""
    with store.read() as connection:
        row = run_row(connection, run_id)
    return row.environment, row.target


def place_of_incident(store: Store, incident_id: str) -> tuple[str | None, str | None]:
    """The environment and the target of an incident. Raises Problem when there is none."""
    with store.read() as connection:
        row = incident_row(connection, incident_id)
    return row.environment, row.target


def incident_row(connection: Connection, incident_id: str) -> Row[Any]:
    """The row of an incident. Raises Problem when there is none."""
    row = connection.execute(select(incidents).where(incidents.c.id == incident_id)).one_or_none()
    if row is None:
        raise Problem(ProblemKind.NOT_FOUND, "unknown_incident", f"there is no incident {incident_id!r}")
    return row


def run_row(connection: Connection, run_id: str) -> Row[Any]:
    """The row of a run. Raises Problem when there is none."""
    row = connection.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise Problem(ProblemKind.NOT_FOUND, "unknown_run", f"there is no run {run_id!r}")
    return row


def _page(query: Select[Any], columns: Any, state: str | None, before: str | None) -> Select[Any]:
    if state is not None:
        query = query.where(columns.state == state)
    if before is not None:
        query = query.where(columns.id < before)
    return query


def _shown(document: JsonObject) -> JsonObject:
    # Whole documents, at their way out: a new member is masked without anybody thinking of it.
    masked: JsonObject = mask(document)
    return masked


def _incident(row: Row[Any]) -> JsonObject:
    return {
        "id": row.id,
        "title": row.title,
        "environment": row.environment,
        "target": row.target,
        "state": row.state,
        "outcome": row.outcome,
        "reason": row.reason,
        "severity": row.severity,
        "strategy": row.strategy,
        "run": row.run_id,
        "superseded_by": row.superseded_by,
        "truncated_alerts": row.truncated,
        "opened_at": _time(row.opened_at),
        "closed_at": _time(row.closed_at),
    }


def _run(row: Row[Any]) -> JsonObject:
    return {
        "id": row.id,
        "incident": row.incident_id,
        "environment": row.environment,
        "target": row.target,
        "origin": row.origin,
        "actor": row.actor,
        "state": row.state,
        "stage": row.stage,
        "waiting_for": row.waiting_for if row.state == "waiting" else None,
        "due_at": _time(row.due_at),
        "cid": row.cid,
        "outcome": row.outcome,
        "verdict": row.verdict,
        "reason": row.reason,
        "tried": list((row.data or {}).get("tried", [])),
        "created_at": _time(row.created_at),
        "first_call_at": _time(row.first_call_at),
        "acted_at": _time(row.acted_at),
        "ended_at": _time(row.ended_at),
        "cancelled_by": row.cancel_by,
    }


def _alert(row: Row[Any]) -> JsonObject:
    return {
        "fingerprint": row.fingerprint,
        "name": row.labels.get("alertname", ""),
        "status": row.status,
        "outcome": row.outcome,
        "reason": row.reason,
        "labels": row.labels,
        "annotations": {name: plain(value) for name, value in row.annotations.items()},
        "starts_at": _time(row.starts_at),
        "ends_at": _time(row.ends_at),
        "first_seen": _time(row.first_seen),
        "last_seen": _time(row.last_seen),
        "deliveries": row.deliveries,
        "generator_url": plain(row.generator_url),
    }


def _time(value: datetime | None) -> JsonValue:
    return value.isoformat() if value is not None else None
