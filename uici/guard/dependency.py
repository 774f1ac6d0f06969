"""What a target cannot do without is healed first."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny
from uici.model.policies import DependencyPolicy
from uici.model.thresholds import complaint, usable
from uici.model.verdict import Decision

GUARD = "dependency"


def dependency(context: GuardContext) -> Decision:
    """Deny while something that the target depends on has an open incident or is down, and where nobody can tell.

    The run waits. A person's explicit request is not bound, nor is a plan that only reads.
    """
    policy = context.policies.dependencies
    if not context.mutates or context.by_a_human:
        return allow(GUARD, "waits", None, "reads and people do not wait for dependencies")
    for name in DependencyPolicy.model_fields:
        value = getattr(policy, name)
        if not usable(value, policy, name):
            return deny(GUARD, name, value, complaint(value, policy, name))
    if context.dependencies_known is not True:
        return deny(GUARD, "unreadable", None, "how the target's dependencies are could not be read")
    if context.hindrance is not None:
        return deny(GUARD, "waits", context.hindrance, f"waits for {context.hindrance}")
    return allow(GUARD, "waits", None, "nothing that the target depends on is known to be broken")
