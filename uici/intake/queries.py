"""What the intake reads and wakes while it records, each in one statement for many alerts or incidents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, and_, bindparam, column, exists, literal_column, select

from uici.model.alert import AlertOutcome, AlertStatus
from uici.model.base import Frozen, JsonObject
from uici.model.incident import IncidentState
from uici.store.json import json_item, json_values
from uici.store.schema import alerts, incidents, runs
from uici.store.times import utc_text

Occurrence = tuple[str, datetime]
"""Fingerprint and beginning: what identifies one occurrence of an alert."""

# Statements are built once: building one costs several times what the database needs to carry it out.
# The keys come as one list in JSON: of a list of pairs SQLite makes a look at every alert that it holds, and a list of
# single values would be written into the statement anew each time.
_WANTED = json_values(bindparam("keys", type_=Text)).table_valued(column("value", Text), name="wanted")
_KNOWN = (
    select(
        alerts.c.fingerprint,
        alerts.c.starts_at,
        alerts.c.incident_id,
        alerts.c.status,
        alerts.c.outcome,
        alerts.c.ends_at,
        alerts.c.last_seen,
        alerts.c.deliveries,
    )
    .select_from(_WANTED)
    .join(
        alerts,
        and_(
            alerts.c.fingerprint == json_item(_WANTED.c.value, literal_column("0")),
            alerts.c.starts_at == json_item(_WANTED.c.value, literal_column("1")),
        ),
    )
)
_SHOWN = select(
    incidents.c.id,
    incidents.c.key,
    incidents.c.environment,
    incidents.c.target,
    incidents.c.state,
    incidents.c.outcome,
)
_INCIDENTS = _SHOWN.where(incidents.c.id.in_(select(_WANTED.c.value)))
_OPEN = _SHOWN.where(incidents.c.key.in_(select(_WANTED.c.value)), incidents.c.state == literal_column("'open'"))
_WAKE = (
    runs.update()
    .where(
        runs.c.incident_id.in_(select(_WANTED.c.value)),
        runs.c.state != "ended",
        ~exists().where(alerts.c.incident_id == runs.c.incident_id, alerts.c.status == AlertStatus.FIRING),
    )
    .values(due_at=bindparam("woken_at"))
)


class IncidentRef(Frozen):
    """An incident that a notification touched."""

    id: str
    environment: str | None
    target: str | None
    state: IncidentState
    outcome: AlertOutcome | None


def known_alerts(connection: Connection, wanted: Iterable[Occurrence]) -> dict[Occurrence, JsonObject]:
    """Of these alerts those that are stored, with all that another delivery may change."""
    keys = json.dumps([(fingerprint, utc_text(starts_at)) for fingerprint, starts_at in wanted])
    rows = connection.execute(_KNOWN, {"keys": keys}).mappings()
    return {(row["fingerprint"], row["starts_at"]): dict(row) for row in rows}


def open_incidents(connection: Connection, keys: Iterable[str]) -> dict[str, IncidentRef]:
    """The open incidents by their keys."""
    return {row.key: _shown(row) for row in _those(connection, _OPEN, keys)}


def these_incidents(connection: Connection, ids: Iterable[str]) -> dict[str, IncidentRef]:
    """Incidents by their ids."""
    return {row.id: _shown(row) for row in _those(connection, _INCIDENTS, ids)}


def wake_silent(connection: Connection, ids: Iterable[str], now: datetime) -> None:
    """Let the runs of those incidents look again of which no alert fires any more."""
    if wanted := list(ids):
        connection.execute(_WAKE, {"keys": json.dumps(wanted), "woken_at": now})


def _those(connection: Connection, statement: Select[Any], keys: Iterable[str]) -> Iterable[Row[Any]]:
    wanted = list(keys)
    return connection.execute(statement, {"keys": json.dumps(wanted)}) if wanted else ()


def _shown(row: Row[Any]) -> IncidentRef:
    return IncidentRef(id=row.id, environment=row.environment, target=row.target, state=row.state, outcome=row.outcome)
