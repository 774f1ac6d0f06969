"""Past incidents that were like the present one, and how they ended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, select

from uici.model.base import JsonObject
from uici.model.incident import IncidentState
from uici.store.schema import alerts, incidents, plans, runs

_LOOKED_THROUGH = 500
"""Incidents, the newest first: older ones tell of a service that has changed since."""
_LONGEST_REASON = 300
_SAME_ALERT, _SAME_TARGET, _SAME_FINDINGS = 3.0, 2.0, 2.0


def precedents(
    connection: Connection,
    *,
    incident_id: str | None,
    names: Collection[str],
    place: tuple[str, str],
    findings: Collection[str],
    most: int,
) -> list[JsonObject]:
    """The most similar closed incidents: of alerts of these `names`, of the same target, with the same findings."""
    if not most:
        return []
    rows = connection.execute(
        select(incidents)
        .where(incidents.c.state == IncidentState.CLOSED, incidents.c.id != (incident_id or ""))
        .order_by(incidents.c.id.desc())
        .limit(_LOOKED_THROUGH)
    ).all()
    alerted = _alert_names(connection, [row.id for row in rows])
    scored = []
    for age, row in enumerate(rows):
        known = {item["name"] for item in row.findings}
        # Findings alone are shared by what has nothing else in common: every healthy target is `healthy`.
        alike = _SAME_ALERT * bool(alerted.get(row.id, set()) & set(names))
        alike += _SAME_TARGET * ((row.environment, row.target) == place)
        if alike:
            both = known | set(findings)
            alike += _SAME_FINDINGS * len(known & set(findings)) / len(both) if both else 0.0
            scored.append((-alike, age, row))
    scored.sort(key=lambda item: item[:2])
    return [_told(connection, row, alerted.get(row.id, set())) for _, _, row in scored[:most]]


def _alert_names(connection: Connection, ids: Collection[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in connection.execute(select(alerts.c.incident_id, alerts.c.labels).where(alerts.c.incident_id.in_(ids))):
        found.setdefault(row.incident_id, set()).add(str(row.labels.get("alertname", "")))
    return found


def _told(connection: Connection, row: Row[Any], names: Collection[str]) -> JsonObject:
    found = connection.execute(
        select(runs.c.verdict, plans.c.document)
        .select_from(runs.outerjoin(plans, plans.c.cid == runs.c.cid))
        .where(runs.c.id == row.run_id)
    ).one_or_none()
    document = found.document if found is not None else None
    return {
        "alerts": sorted(names),
        "environment": row.environment,
        "target": row.target,
        "findings": [item["name"] for item in row.findings],
        "last_plan": [step["step"] for step in (document or {}).get("steps", [])],
        "verdict": found.verdict if found is not None else None,
        "outcome": row.outcome,
        "reason": row.reason[:_LONGEST_REASON],
        "opened_at": row.opened_at.isoformat(),
    }
