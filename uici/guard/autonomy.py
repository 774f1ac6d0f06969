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
    if not context.mutates or context.by_a_human:
        return allow(GUARD, "not_autonomous", context.autonomy, "the plan only reads, or a person asked for it")
    declared: dict[str, object] = {"autonomy": context.autonomy}
    if context.plan.plan.origin is Origin.COUNCIL:
        declared["council_autonomy"] = context.policies.council_autonomy
    levels: dict[str, Autonomy] = {}
    for name, level in declared.items():
        if not isinstance(level, Autonomy):
            return deny(GUARD, "unknown", repr(level), f"{name} is {level!r}; set observe, propose, approve or auto")
        levels[name] = level
    whose, lowest = min(levels.items(), key=lambda each: _LEVELS.index(each[1]))
    if lowest is Autonomy.AUTO:
        return allow(GUARD, "auto", lowest, "UICI may act by itself here")
    if lowest is Autonomy.APPROVE:
        return needs_approval(context, GUARD, "approve", lowest, f"{whose} is approve: a person decides")
    if lowest is Autonomy.OBSERVE:
        return deny(GUARD, "observe", lowest, f"{whose} is observe: what would be done is only recorded")
    return deny(GUARD, "propose", lowest, f"{whose} is propose: people are told what would be done")
