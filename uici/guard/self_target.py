"""UICI may be watched, never acted on: the layer `planning` of the self-target guard, over a prepared plan."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny
from uici.model.verdict import Decision

GUARD = "self-target"


def self_target(context: GuardContext) -> Decision:
    """Deny when a step that changes something has UICI, or what contains it as a whole, as its target."""
    if not context.layers.planning:
        return allow(GUARD, "planning", False, "the layer planning of the self-target guard is off")
    for step in context.mutating_steps:
        by = context.identity.is_target((step.step.target, *context.aliases), step.binding)
        if by is not None:
            reason = f"{step.step.operation} on {step.step.target!r} would act on UICI itself, reached as {by!r}"
            return deny(GUARD, "planning", by, reason)
    return allow(GUARD, "planning", True, "no step acts on UICI itself")
