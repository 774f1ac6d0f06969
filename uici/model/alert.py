"""Alerts as Alertmanager's webhook (version 4) delivers them.

Source of the format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

HEARTBEAT_MISSING = "HeartbeatMissing"
"""The name of the alert that the absence of a heartbeat is."""


class AlertStatus(StrEnum):
    """State of one alert; a group's own `status` is not trusted, since truncation makes it lie."""

    FIRING = "firing"
    RESOLVED = "resolved"


class AlertOutcome(StrEnum):
    """The one terminal state in which every accepted alert ends."""

    HEALED = "healed"
    SELF_RESOLVED = "self_resolved"
    OBSERVED = "observed"
    REFUSED = "refused"
    ESCALATED = "escalated"
    IGNORED_BY_RULE = "ignored_by_rule"
    SUPERSEDED = "superseded"


# Plain, because the parser has checked every value, and there are thousands a second.
@dataclass(frozen=True, slots=True)
class Alert:
    """One alert; `(fingerprint, starts_at)` identifies one occurrence of it."""

    fingerprint: str
    status: AlertStatus
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: datetime
    ends_at: datetime | None
    generator_url: str

    @property
    def name(self) -> str:
        """The `alertname` label, or the empty text when the sender set none."""
        return self.labels.get("alertname", "")


@dataclass(frozen=True, slots=True)
class Notification:
    """One webhook body: a group of alerts, each with a status of its own."""

    receiver: str
    group_key: str
    external_url: str
    alerts: tuple[Alert, ...]
    truncated_alerts: int
    outside: tuple[Alert, ...] = ()
    """Further ones, about what their sender's scope does not cover."""
