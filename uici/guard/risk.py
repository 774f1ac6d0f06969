"""How risky a plan may be without a person's word. The risk comes from the YAML, never from a model."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny, needs_approval
from uici.model.call import Risk
from uici.model.thresholds import complaint, usable
from uici.model.verdict import Decision

GUARD = "risk"


def risk(context: GuardContext) -> Decision:
    """Ask a person above `risk.auto_approve_up_to`, and always for `destructive`. Binds every plan, people's too."""
    threshold = context.policies.risk.auto_approve_up_to
    if not usable(threshold, context.policies.risk, "auto_approve_up_to"):
        reason = complaint(threshold, context.policies.risk, "auto_approve_up_to")
        return deny(GUARD, "auto_approve_up_to", threshold, reason)
    found = context.risk
    if found is Risk.DESTRUCTIVE:
        return needs_approval(context, GUARD, "destructive", found, "a destructive plan always needs a person's word")
    if found.rank > threshold.rank:
        reason = f"the plan's risk is {found}; without a person's word only up to {threshold}"
        return needs_approval(context, GUARD, "auto_approve_up_to", found, reason)
    return allow(GUARD, "auto_approve_up_to", found, f"the plan's risk is {found}, at most {threshold}")
