"""What a person has forbidden by name: no rule takes a vetoed remedy until somebody lifts the veto."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny
from uici.model.verdict import Decision

GUARD = "veto"


def veto(context: GuardContext) -> Decision:
    """Deny a remedy that is vetoed on a target of the plan, and any while the vetoes cannot be read.

    Also where the remedy only reads or waits: it was forbidden by name. A person's explicit plan is of no remedy, and
    is not bound: whoever forbids a rule to restart a service may restart it by hand.
    """
    plan = context.plan.plan
    if context.by_a_human:
        return allow(GUARD, "vetoed", None, "a veto binds rules; a person asked for this plan")
    if context.vetoes is None:
        return deny(GUARD, "unreadable", None, "which remedies are vetoed could not be read")
    for known in context.vetoes:
        for step in plan.steps:
            if known.covers(plan.strategy, plan.remedy, plan.environment, step.target):
                reason = f"{plan.remedy} is vetoed by {known.actor}: {known.reason}; uici learning lift {known.id}"
                return deny(GUARD, "vetoed", known.id, reason)
    return allow(GUARD, "vetoed", None, "nobody has vetoed this remedy here")
