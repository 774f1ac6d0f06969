"""What one transaction of the intake writes: alerts, the incidents they belong to, and runs for new incidents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, case

from uici.events.log import EventLog
from uici.intake.heartbeats import count_beats
from uici.intake.queries import IncidentRef, Occurrence, known_alerts, open_incidents, these_incidents, wake_silent
from uici.intake.refusing import Refusal, about_self, outside
from uici.intake.targeting import Targeted, TargetIndex
from uici.model.alert import Alert, AlertOutcome, AlertStatus, Notification
from uici.model.base import JsonObject
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.incident import IncidentState
from uici.model.masking import hide_known, hide_known_in, mask
from uici.model.settings import MessageKind
from uici.model.site import Site
from uici.store.identifiers import new_id
from uici.store.inserting import insert_many
from uici.store.outbox import enqueue
from uici.store.schema import alerts, incidents, runs

# Statements are built once: building one costs several times what SQLite needs to carry it out.
_OPEN_INCIDENT = incidents.insert()
_START_RUN = runs.insert()
_TRUNCATED = (
    incidents.update()
    .where(incidents.c.id == bindparam("incident"))
    .values(truncated=case((incidents.c.truncated < bindparam("most"), bindparam("most")), else_=incidents.c.truncated))
)
_REPEATED = alerts.update().where(
    and_(alerts.c.fingerprint == bindparam("b_fingerprint"), alerts.c.starts_at == bindparam("b_starts_at"))
)


@dataclass(slots=True)
class _Judged:
    """What is to become of an alert that was not seen before."""

    outcome: AlertOutcome | None = None
    reason: str = ""
    targeted: Targeted | None = None
    """Where nothing is decided yet."""
    outside: bool = False
    """Of what its sender's scope covers."""


class Batch:
    """The notifications of one transaction. An alert seen twice in it is one alert."""

    def __init__(
        self,
        connection: Connection,
        events: EventLog,
        site: Site,
        index: TargetIndex,
        identity: SelfIdentity,
        layers: SelfGuardLayers,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._events = events
        self._site = site
        self._index = index
        self._identity = identity
        self._layers = layers
        self._now = now
        self._rows: dict[Occurrence, JsonObject] = {}
        self._judged: dict[Occurrence, _Judged] = {}
        self._fresh: list[JsonObject] = []
        self._changed: set[Occurrence] = set()
        self._beats: dict[tuple[str, str], list[Alert]] = {}
        self._open: dict[str, str] = {}
        self._shown: dict[str, IncidentRef] = {}
        self._new_incidents: list[JsonObject] = []
        self._new_runs: list[JsonObject] = []
        self._joined: dict[str, list[tuple[Alert, Targeted]]] = {}
        """By incident, what one notification added to it."""
        self._dropped: dict[str, int] = {}
        """By incident, the most alerts that Alertmanager left out of one notification."""

    def load(self, notifications: Iterable[Notification]) -> None:
        """Read what is known of the alerts of these notifications, and the open incidents that new ones belong to."""
        first: dict[Occurrence, Alert] = {}
        apart: set[Occurrence] = set()
        for notification in notifications:
            for alert in (*notification.alerts, *notification.outside):
                first.setdefault((alert.fingerprint, alert.starts_at), alert)
            apart.update((alert.fingerprint, alert.starts_at) for alert in notification.outside)
        if not first:
            return
        self._rows = known_alerts(self._connection, first)
        wanted: dict[str, None] = {}
        for key, alert in first.items():
            if key in self._rows:
                continue
            if key in apart:
                targeted = self._index.resolve(alert, self._identity, self._layers)
                self._judged[key] = _Judged(targeted=targeted, outside=True)
            else:
                self._judged[key] = judged = self._judge(alert)
                if judged.targeted is not None:
                    wanted[_incident_key(alert, judged.targeted)] = None
        found = open_incidents(self._connection, wanted)
        self._open = {key: incident.id for key, incident in found.items()}
        self._shown = {incident.id: incident for incident in found.values()}

    def add(self, notification: Notification, sender: str) -> tuple[int, list[str]]:
        """Record one loaded notification; returns the number of new alerts and the ids of the incidents it touched."""
        new = 0
        touched: dict[str, None] = {}
        for alert in (*notification.alerts, *notification.outside):
            key = (alert.fingerprint, alert.starts_at)
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = self._begin(alert, self._judged[key], notification, sender)
                self._fresh.append(row)
                new += 1
            else:
                self._repeat(key, row, alert)
            if row["incident_id"] is not None:
                touched[row["incident_id"]] = None
            elif row["outcome"] == AlertOutcome.IGNORED_BY_RULE and alert.status is AlertStatus.FIRING:
                self._beat(alert)
        self._tell_joined()
        if notification.truncated_alerts:
            self._truncated(notification, list(touched))
        return new, list(touched)

    def flush(self) -> None:
        """Write the collected rows, and wake the runs whose alerts have all gone silent."""
        if self._new_incidents:
            self._connection.execute(_OPEN_INCIDENT, self._new_incidents)
        if self._new_runs:
            self._connection.execute(_START_RUN, self._new_runs)
        if self._dropped:
            dropped = [{"incident": id_, "most": most} for id_, most in self._dropped.items()]
            self._connection.execute(_TRUNCATED, dropped)
        if self._fresh:
            insert_many(self._connection, alerts, self._fresh)
        fresh = {(row["fingerprint"], row["starts_at"]) for row in self._fresh} if self._changed else set()
        changed = [
            {
                "b_fingerprint": row["fingerprint"],
                "b_starts_at": row["starts_at"],
                "status": row["status"],
                "outcome": row["outcome"],
                "ends_at": row["ends_at"],
                "last_seen": row["last_seen"],
                "deliveries": row["deliveries"],
            }
            for row in (self._rows[key] for key in self._changed - fresh)
        ]
        if changed:
            self._connection.execute(_REPEATED, changed)
        for (strategy, fingerprint), seen in self._beats.items():
            count_beats(self._connection, strategy, fingerprint, seen[-1].labels, len(seen), self._now)
        silent = {
            row["incident_id"]: None
            for row in (self._rows[key] for key in self._changed)
            if row["status"] == AlertStatus.RESOLVED and row["incident_id"]
        }
        # Flushed above, so the look for one that fires sees this batch's changes.
        wake_silent(self._connection, silent, self._now)

    def incidents(self, ids: Iterable[str]) -> Mapping[str, IncidentRef]:
        """At least these incidents, as they stand in this transaction."""
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._shown]
        self._shown |= these_incidents(self._connection, missing)
        return self._shown

    def _judge(self, alert: Alert) -> _Judged:
        if alert.status is AlertStatus.RESOLVED:
            return _Judged(AlertOutcome.SELF_RESOLVED, "it was already resolved when it first arrived")
        found = self._index.strategies.of(self._site, alert)
        if found is not None and found[1].action == "heartbeat":
            return _Judged(AlertOutcome.IGNORED_BY_RULE, f"strategy {found[0]}: the heartbeat was seen")
        if found is not None and found[1].action == "ignore":
            return _Judged(AlertOutcome.IGNORED_BY_RULE, f"strategy {found[0]} ignores it")
        return _Judged(targeted=self._index.resolve(alert, self._identity, self._layers))

    def _begin(self, alert: Alert, judged: _Judged, notification: Notification, sender: str) -> JsonObject:
        row: JsonObject = {
            "fingerprint": alert.fingerprint,
            "starts_at": alert.starts_at,
            "incident_id": None,
            "status": alert.status.value,
            "outcome": judged.outcome,
            "labels": hide_known_in(alert.labels),
            "annotations": hide_known_in(alert.annotations),
            "ends_at": alert.ends_at,
            "generator_url": hide_known(alert.generator_url),
            "receiver": notification.receiver,
            "sender": sender,
            "reason": judged.reason,
            "first_seen": self._now,
            "last_seen": self._now,
            "deliveries": 1,
        }
        if judged.outside and judged.targeted is not None:
            row["incident_id"] = self._refuse(alert, judged.targeted, row, outside(sender, judged.targeted, self._now))
        elif judged.targeted is not None:
            row["incident_id"] = self._incident_of(alert, judged.targeted, row)
        return row

    def _beat(self, alert: Alert) -> None:
        found = self._index.strategies.of(self._site, alert)
        if found is not None and found[1].action == "heartbeat":
            self._beats.setdefault((found[0], alert.fingerprint), []).append(alert)

    def _incident_of(self, alert: Alert, targeted: Targeted, row: JsonObject) -> str:
        if targeted.is_self:
            return self._refuse(alert, targeted, row, about_self(alert, targeted))
        key = _incident_key(alert, targeted)
        known = self._open.get(key)
        if known is not None:
            self._joined.setdefault(known, []).append((alert, targeted))
            return known
        return self._open_incident(key, alert, targeted)

    def _open_incident(self, key: str, alert: Alert, targeted: Targeted) -> str:
        id_ = new_id("inc", self._now)
        run_id = new_id("run", self._now)
        self._insert_incident(id_, key, alert, targeted, IncidentState.OPEN, run_id=run_id)
        self._new_runs.append(
            {
                "id": run_id,
                "incident_id": id_,
                "environment": targeted.environment,
                "target": targeted.target,
                "origin": "rule",
                "state": "waiting",
                "stage": "target",
                "part": 0,
                "due_at": self._now,
                "waiting_for": "start",
                "data": {},
                "created_at": self._now,
            }
        )
        self._open[key] = id_
        self._event("incident_opened", id_, targeted, alert, run=run_id)
        return id_

    def _refuse(self, alert: Alert, targeted: Targeted, row: JsonObject, why: Refusal) -> str:
        id_, reason = new_id("inc", self._now), mask(why.reason)
        self._insert_incident(
            id_,
            f"{why.guard.partition('-')[0]}:{alert.fingerprint}",
            alert,
            targeted,
            IncidentState.CLOSED,
            outcome=AlertOutcome.REFUSED,
            reason=reason,
            closed_at=self._now,
        )
        row |= {"outcome": AlertOutcome.REFUSED, "reason": reason}
        self._event("incident_refused", id_, targeted, alert, guard=why.guard, layer="intake")
        enqueue(
            self._connection,
            why.told,
            MessageKind.REFUSED,
            why.message(alert, id_),
            self._now,
            severity=alert.labels.get("severity", ""),
            incident=id_,
        )
        return id_

    def _insert_incident(
        self, id_: str, key: str, alert: Alert, targeted: Targeted, state: IncidentState, **more: object
    ) -> None:
        row: JsonObject = {
            "id": id_,
            "key": key,
            "environment": targeted.environment,
            "target": targeted.target,
            "state": state,
            "outcome": None,
            "reason": mask(targeted.reason),
            "opened_at": self._now,
            "closed_at": None,
            "severity": alert.labels.get("severity", ""),
            "title": hide_known(f"{alert.name or 'alert without name'} on {targeted.target or 'an unknown target'}"),
            "run_id": None,
        }
        row |= more
        self._new_incidents.append(row)
        self._shown[id_] = IncidentRef(
            id=id_, environment=targeted.environment, target=targeted.target, state=state, outcome=row["outcome"]
        )

    def _repeat(self, key: Occurrence, row: JsonObject, alert: Alert) -> None:
        """Another delivery. Resolved is final for one occurrence: peers of a cluster deliver out of order."""
        row["deliveries"] += 1
        row["last_seen"] = self._now
        self._changed.add(key)
        if alert.status is AlertStatus.RESOLVED and row["status"] != AlertStatus.RESOLVED:
            row["status"] = AlertStatus.RESOLVED.value
            row["ends_at"] = alert.ends_at
            if row["incident_id"] is not None:
                self._events.append(
                    self._connection,
                    "alert_resolved",
                    incident=row["incident_id"],
                    alert=alert.name,
                    fingerprint=alert.fingerprint,
                )

    def _truncated(self, notification: Notification, touched: list[str]) -> None:
        for id_ in touched:
            self._dropped[id_] = max(self._dropped.get(id_, 0), notification.truncated_alerts)
        self._events.append(
            self._connection,
            "notification_truncated",
            incident=touched[0] if touched else None,
            receiver=notification.receiver,
            group=notification.group_key,
            dropped=notification.truncated_alerts,
        )

    def _tell_joined(self) -> None:
        """One event for all that a notification added to an incident: a storm is told of once, not once an alert.

        Which alerts they are, the alerts' own rows say.
        """
        for incident, added in self._joined.items():
            place = added[0][1]
            self._events.append(
                self._connection,
                "alert_joined",
                incident=incident,
                environment=place.environment,
                target=place.target,
                alerts=len(added),
                names=list(dict.fromkeys(alert.name for alert, _ in added)),
                severities=list(dict.fromkeys(alert.labels.get("severity", "") for alert, _ in added)),
                rules=list(dict.fromkeys(targeted.rule for _, targeted in added)),
            )
        self._joined.clear()

    def _event(self, type_: str, incident: str, targeted: Targeted, alert: Alert, **more: object) -> None:
        run = more.pop("run", None)
        self._events.append(
            self._connection,
            type_,
            incident=incident,
            run=str(run) if run else None,
            environment=targeted.environment,
            target=targeted.target,
            alert=alert.name,
            fingerprint=alert.fingerprint,
            severity=alert.labels.get("severity", ""),
            rule=targeted.rule,
            **more,
        )


def _incident_key(alert: Alert, targeted: Targeted) -> str:
    if targeted.target is not None:
        return f"{targeted.environment}/{targeted.target}"
    if targeted.needs_lookup:
        return f"provisional:{alert.fingerprint}"
    # Many alerts of one name without a target are one question to people, not a flood of them.
    return f"unknown:{targeted.environment}/{alert.name}"
