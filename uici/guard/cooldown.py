"""After a run of any outcome its target rests."""

from __future__ import annotations

from datetime import timedelta

from uici.guard.context import GuardContext, allow, deny
from uici.model.thresholds import complaint, usable
from uici.model.verdict import Decision

GUARD = "cooldown"


def cooldown(context: GuardContext) -> Decision:
    """Deny until `cooldown.seconds` have passed since the last run ended; at that moment it is allowed again.

    Binds the first rung of a run: later rungs follow without a rest. It does not bind a person's explicit request,
    nor a plan that only reads. A last run that ended in the future (clocks that disagree) still rests in full.
    """
    seconds = context.policies.cooldown.seconds
    if not context.mutates or context.by_a_human or context.first_rung is False:
        return allow(GUARD, "seconds", seconds, "no rest is asked of reads, of people, or between the rungs of one run")
    if not usable(seconds, context.policies.cooldown, "seconds"):
        return deny(GUARD, "seconds", seconds, complaint(seconds, context.policies.cooldown, "seconds"))
    if context.last_run_ended is None:
        return allow(GUARD, "seconds", seconds, "no run has acted on this target yet")
    rested = context.now - context.last_run_ended
    if rested < timedelta(seconds=seconds):
        reason = f"the last run ended {rested.total_seconds():.1f} s ago; the target rests for {seconds:g} s"
        return deny(GUARD, "seconds", seconds, reason)
    return allow(GUARD, "seconds", seconds, f"the target has rested for {seconds:g} s")
