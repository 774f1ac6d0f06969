"""After enough runs that did not help, UICI stops trying."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny, known_count
from uici.model.thresholds import complaint, usable
from uici.model.verdict import Decision

GUARD = "give-up"


def give_up(context: GuardContext) -> Decision:
    """Deny from the `give_up.ineffective_runs`-th ineffective run within `give_up.within_seconds` on.

    Does not bind a person's explicit request, nor a plan that only reads.
    """
    policy = context.policies.give_up
    most, within, seen = policy.ineffective_runs, policy.within_seconds, context.ineffective_runs
    if not context.mutates or context.by_a_human:
        return allow(GUARD, "ineffective_runs", most, "UICI gives up on its own attempts only")
    if not usable(most, policy, "ineffective_runs"):
        return deny(GUARD, "ineffective_runs", most, complaint(most, policy, "ineffective_runs"))
    if not usable(within, policy, "within_seconds"):
        return deny(GUARD, "within_seconds", within, complaint(within, policy, "within_seconds"))
    if not known_count(seen):
        return deny(GUARD, "unreadable", seen, "how many runs were ineffective could not be read")
    if seen >= most:
        reason = f"{seen} runs within {within:g} s did not help; after {most} a human takes over"
        return deny(GUARD, "ineffective_runs", most, reason)
    return allow(GUARD, "ineffective_runs", most, f"{seen} ineffective runs within {within:g} s")
