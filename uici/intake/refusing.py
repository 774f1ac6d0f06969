"""Alerts that are kept and answered for, and about which nothing is done: what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from uici.intake.targeting import Targeted
from uici.model.alert import Alert
from uici.model.base import JsonObject
from uici.model.settings import MessageKind


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the intake refuses an alert."""

    guard: str
    reason: str
    title: str
    told: str
    """The key of the message: people are told once for each."""
    to_do: str

    def message(self, alert: Alert, incident: str) -> JsonObject:
        """What people are told."""
        return {
            "kind": MessageKind.REFUSED,
            "title": self.title,
            "why": self.reason,
            "labels": alert.labels,
            "what_to_do": [f"see everything known of it: uici incidents {incident}", self.to_do],
            "incident": incident,
        }


def about_self(alert: Alert, targeted: Targeted) -> Refusal:
    """The alert is about UICI itself."""
    return Refusal(
        guard="self-target",
        reason=f"self_target: {targeted.reason}",
        title=f"{alert.name}: UICI never remediates itself",
        told=f"self:{alert.fingerprint}:{alert.starts_at.isoformat()}",
        to_do="heal UICI by hand, or by what supervises it",
    )


def outside(sender: str, targeted: Targeted, now: datetime) -> Refusal:
    """The sender's scope does not cover what the alert is about."""
    place = f"{targeted.target or 'no target'} in {targeted.environment or 'no environment'}"
    return Refusal(
        guard="scope",
        reason=f"out_of_scope: {sender} may not report about {place}. {targeted.reason}",
        title=f"{sender} reports what its credential does not cover",
        told=f"scope:{sender}:{now:%Y-%m-%dT%H}",  # once an hour: a sender that is wrong is wrong often
        to_do="heal it by hand, and give its sender a credential of a wider scope, or other routes",
    )
