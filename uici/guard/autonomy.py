"""How far UICI may go by itself: observe, propose, approve, auto."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny, needs_approval
from uici.model.site import Autonomy
from uici.model.verdict import Decision

GUARD = "autonomy"


def autonomy(context: GuardContext) -> Decision:
    """Deny at `observe` and `propose`, ask at `approve`, allow at `auto`; deny a level that is missing or unknown.

    The rule of a denial is the level, so that a run can record what would have been done, or tell people. Bound by
    it is what UICI does by itself: a person's explicit request is not, and neither is a plan that only reads.
    """
    level = context.autonomy
    if not context.mutates or context.by_a_human:
        return allow(GUARD, "not_autonomous", level, "the plan only reads, or a person asked for it")
    if level is Autonomy.AUTO:
        return allow(GUARD, "auto", level, "UICI may act by itself here")
    if level is Autonomy.APPROVE:
        return needs_approval(context, GUARD, "approve", level, "autonomy is approve: a person decides")
    if level is Autonomy.OBSERVE:
        return deny(GUARD, "observe", level, "autonomy is observe: what would be done is only recorded")
    if level is Autonomy.PROPOSE:
        return deny(GUARD, "propose", level, "autonomy is propose: people are told what would be done")
    return deny(GUARD, "unknown", repr(level), f"autonomy is {level!r}; set observe, propose, approve or auto")
