"""When much of an environment fails at once, the cause is probably a common one, and people look first."""

from __future__ import annotations

from uici.guard.context import GuardContext, MassFailure, allow, deny, known_count, needs_approval
from uici.model.policies import MassFailurePolicy
from uici.model.thresholds import complaint, usable
from uici.model.verdict import Decision

GUARD = "mass-failure"
RULE = "share"


def mass_failure(context: GuardContext) -> Decision:
    """Ask people while the brake is on, and as soon as enough fails for it to be put on.

    A person's explicit request is not bound, nor is a plan that only reads.
    """
    policy = context.policies.mass_failure
    if not context.mutates or context.by_a_human:
        return allow(GUARD, RULE, policy.share, "reads and people are not held back in a mass failure")
    for name in MassFailurePolicy.model_fields:
        value = getattr(policy, name)
        if not usable(value, policy, name):
            return deny(GUARD, name, value, complaint(value, policy, name))
    seen = context.mass_failure
    if seen is None or not known_count(seen.failing) or not known_count(seen.targets):
        return deny(GUARD, "unreadable", policy.share, "how many targets of the environment fail could not be read")
    if seen.lifted:
        return allow(GUARD, RULE, policy.share, "a person has taken the brake off")
    if seen.engaged or is_mass(policy, seen):
        return needs_approval(
            context, GUARD, RULE, seen.failing, described(context.plan.plan.environment, policy, seen)
        )
    return allow(GUARD, RULE, policy.share, f"{seen.failing} of {seen.targets} targets fail")


def is_mass(policy: MassFailurePolicy, seen: MassFailure) -> bool:
    """Whether so much fails that the brake is to be put on; False where the policy cannot be judged by."""
    if policy.share is None or policy.at_least is None or seen.targets == 0:
        return False
    return seen.failing >= policy.at_least and seen.failing / seen.targets >= policy.share


def described(environment: str, policy: MassFailurePolicy, seen: MassFailure) -> str:
    """What people read."""
    within = f" within {policy.within_seconds:g} s" if policy.within_seconds is not None else ""
    return (
        f"mass failure: {seen.failing} of {seen.targets} targets in {environment} failed{within}; "
        "probably a common cause"
    )
