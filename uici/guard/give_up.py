"""After enough runs that did not help, UICI stops trying."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny, usable_count, usable_seconds
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
    if most is None or not usable_count(most, least=1):
        reason = f"give_up.ineffective_runs is {most!r} in policies.yml; set a whole number of 1 or more"
        return deny(GUARD, "ineffective_runs", most, reason)
    if within is None or not usable_seconds(within):
        reason = f"give_up.within_seconds is {within!r} in policies.yml; set 0 or more seconds"
        return deny(GUARD, "within_seconds", within, reason)
    if not usable_count(seen, least=0):
        return deny(GUARD, "unreadable", seen, "how many runs were ineffective could not be read")
    if seen >= most:
        reason = f"{seen} runs within {within:g} s did not help; after {most} a human takes over"
        return deny(GUARD, "ineffective_runs", most, reason)
    return allow(GUARD, "ineffective_runs", most, f"{seen} ineffective runs within {within:g} s")
