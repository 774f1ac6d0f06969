"""The brake in a mass failure: nothing new starts beyond these limits."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny, known_count
from uici.model.thresholds import complaint, usable
from uici.model.verdict import Answer, Decision

GUARD = "blast-radius"


def blast_radius(context: GuardContext) -> Decision:
    """Deny below `min_healthy` of the group's other members, at `max_concurrent` runs, after `max_per_hour` plans.

    A target without others in its group is never held back by `min_healthy`. The brake holds for people too; what
    only reads is not counted and not held back.
    """
    if not context.mutates:
        return allow(GUARD, "reads", None, "the plan only reads")
    for check in (_min_healthy, _max_concurrent, _max_per_hour):
        decision = check(context)
        if decision.answer is not Answer.ALLOW:
            return decision
    return allow(GUARD, "within", None, "within min_healthy, max_concurrent and max_per_hour")


def _min_healthy(context: GuardContext) -> Decision:
    rule = "min_healthy"
    share, others, healthy = context.policies.blast_radius.min_healthy, context.group_members, context.group_healthy
    if not usable(share, context.policies.blast_radius, rule):
        return deny(GUARD, rule, share, complaint(share, context.policies.blast_radius, rule))
    if not known_count(others):
        return deny(GUARD, rule, share, f"the group's members could not be counted ({others!r})")
    if others == 0:
        return allow(GUARD, rule, share, "no other member stands in for the target")
    if not known_count(healthy) or healthy > others:
        return deny(GUARD, rule, share, f"how many of the {others} other members are healthy could not be read")
    if healthy / others < share:
        reason = f"{healthy} of the {others} other members of the group are healthy; min_healthy is {share:g}"
        return deny(GUARD, rule, share, reason)
    return allow(GUARD, rule, share, f"{healthy} of {others} other members are healthy")


def _max_concurrent(context: GuardContext) -> Decision:
    most = context.policies.blast_radius.max_concurrent
    return _below(context, most, context.acting, "max_concurrent", "runs act in this environment now")


def _max_per_hour(context: GuardContext) -> Decision:
    most = context.policies.blast_radius.max_per_hour
    what = "plans were begun in this environment within an hour"
    return _below(context, most, context.started_last_hour, "max_per_hour", what)


def _below(context: GuardContext, most: int | None, seen: int | None, rule: str, what: str) -> Decision:
    if not usable(most, context.policies.blast_radius, rule):
        return deny(GUARD, rule, most, complaint(most, context.policies.blast_radius, rule))
    if not known_count(seen):
        return deny(GUARD, rule, most, f"how many {what} could not be read")
    if seen >= most:
        return deny(GUARD, rule, most, f"{seen} {what}; {rule} is {most}")
    return allow(GUARD, rule, most, f"{seen} {what}")
