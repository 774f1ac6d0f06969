"""Incidents and findings."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from uici.model.alert import AlertOutcome
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import FailureKind


class IncidentState(StrEnum):
    """`open` until its run has ended; `closed` for ever after."""

    OPEN = "open"
    CLOSED = "closed"


class Finding(Frozen):
    """A named fact that diagnosis established, with the observation that showed it."""

    name: str
    summary: str
    operation: str
    evidence: JsonValue = None


class Observation(Frozen):
    """The result of one read-only operation during diagnosis; `error` when it could not be made."""

    operation: str
    parameters: JsonObject
    result: JsonObject | None
    error: str | None = None
    failure: FailureKind | None = None
    """Of a call that failed; None also where no call could be made."""


class Incident(Frozen):
    """All that is wrong with one target at one time."""

    id: str
    key: str
    """`<environment>/<target>`, or `provisional:<fingerprint>` until the target is known."""
    environment: str | None
    target: str | None
    state: IncidentState
    outcome: AlertOutcome | None
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    severity: str
    title: str
    run_id: str | None
    superseded_by: str | None
