"""One mutation per target at a time, across all replicas."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny
from uici.model.verdict import Decision

GUARD = "lock"


def lock(context: GuardContext) -> Decision:
    """Deny changes while another run holds the target; people wait for it too. Reading needs no lock."""
    if context.holder is not None and context.mutates:
        return deny(GUARD, "held", context.holder, f"run {context.holder} is acting on this target; wait or cancel it")
    return allow(GUARD, "held", context.holder, "no other run holds the target, or the plan only reads")
