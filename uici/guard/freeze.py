"""One call freezes all: nothing that changes anything starts until somebody lifts it."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny
from uici.model.verdict import Decision

GUARD = "freeze"


def freeze(context: GuardContext) -> Decision:
    """Deny changes while everything is frozen, and while nobody can tell whether it is; people's too.

    Looking stays allowed: who froze everything wants to see.
    """
    if not context.mutates:
        return allow(GUARD, "reads", None, "the plan only reads")
    if context.frozen is not None:
        by, why = context.frozen
        return deny(GUARD, "frozen", by, f"everything is frozen by {by}: {why or 'no reason given'}; lift it first")
    if context.freeze_known is not True:
        return deny(GUARD, "unreadable", None, "whether everything is frozen could not be read")
    return allow(GUARD, "frozen", None, "nothing is frozen")
