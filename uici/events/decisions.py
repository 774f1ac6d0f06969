"""Which events tell of a decision, or of something done, and so have an entry in the audit log too."""

from __future__ import annotations

from uici.audit.entries import Entry
from uici.model.base import JsonObject

DECISIONS = frozenset(
    {
        # What the guards, people and time decided about a plan.
        "incident_refused", "guarded", "change_proposed", "approval_requested", "approved", "rejected",
        "approval_expired",
        # What people asked for.
        "run_requested", "cancel_requested", "frozen", "unfrozen", "brake_engaged", "brake_released",
        "brake_lifted", "vetoed", "veto_lifted", "feedback_given",
        "notifications_retried", "notifications_tested", "state_restored",
        # What was done, and what came of it.
        "call_sent", "call_done", "call_failed", "call_unknown", "step_failed", "verified", "undone", "undo_skipped",
        "run_ended",
        # Under which rules.
        "configuration_reloaded", "configuration_rejected",
    }
)  # fmt: skip


def entry_of(event: JsonObject) -> Entry | None:
    """The entry that an event has in the audit log; None for one that tells of no decision."""
    if event["type"] not in DECISIONS:
        return None
    data: JsonObject = dict(event["data"])
    actor = data.pop("actor", None) or "uici"
    return Entry(
        at=event["at"],
        kind=event["type"],
        actor=str(actor),
        incident=event["incident_id"],
        run=event["run_id"],
        environment=event["environment"],
        target=event["target"],
        data=data,
    )
