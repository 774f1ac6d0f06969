"""One call freezes all: nothing new starts until somebody lifts it."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny
from uici.model.verdict import Decision

GUARD = "freeze"


def freeze(context: GuardContext) -> Decision:
    """Deny while everything is frozen, and while nobody can tell whether it is. Binds every plan, people's too."""
    if context.frozen is not None:
        by, why = context.frozen
        return deny(GUARD, "frozen", by, f"everything is frozen by {by}: {why or 'no reason given'}; lift it first")
    if context.freeze_known is not True:
        return deny(GUARD, "unreadable", None, "whether everything is frozen could not be read")
    return allow(GUARD, "frozen", None, "nothing is frozen")
