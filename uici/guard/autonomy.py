"""How far UICI may go by itself: observe, propose, approve, auto."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny, needs_approval
from uici.model.plan import Origin
from uici.model.site import Autonomy
from uici.model.verdict import Decision

GUARD = "autonomy"
_LEVELS = list(Autonomy)


def autonomy(context: GuardContext) -> Decision:
    """Deny at `observe` and `propose`, ask at `approve`, allow at `auto`; deny a level that is missing or unknown.

    Of a plan that a model wrote `council_autonomy` counts, where it is lower. The rule of a denial is the level, so
    that a run can record what would have been done, or tell people. Bound by it is what UICI does by itself: a person's
    explicit request is not, and neither is a plan that only reads.
    """
    level: object = context.autonomy
    if not context.mutates or context.by_a_human:
        return allow(GUARD, "not_autonomous", level, "the plan only reads, or a person asked for it")
    whose = "autonomy"
    if context.plan.plan.origin is Origin.COUNCIL and isinstance(level, Autonomy):
        own: object = context.policies.council_autonomy
        if not isinstance(own, Autonomy) or _LEVELS.index(own) < _LEVELS.index(level):
            level, whose = own, "council_autonomy"
    if level is Autonomy.AUTO:
        return allow(GUARD, "auto", level, "UICI may act by itself here")
    if level is Autonomy.APPROVE:
        return needs_approval(context, GUARD, "approve", level, f"{whose} is approve: a person decides")
    if level is Autonomy.OBSERVE:
        return deny(GUARD, "observe", level, f"{whose} is observe: what would be done is only recorded")
    if level is Autonomy.PROPOSE:
        return deny(GUARD, "propose", level, f"{whose} is propose: people are told what would be done")
    return deny(GUARD, "unknown", repr(level), f"{whose} is {level!r}; set observe, propose, approve or auto")
