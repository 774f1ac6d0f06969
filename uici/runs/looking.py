"""What a run looks at beside its calls: the state to keep, the effect of a step, and what a poll still waits for."""

from __future__ import annotations

from collections.abc import Iterable

from uici.model.base import JsonObject
from uici.model.condition import Condition, select
from uici.model.masking import mask
from uici.model.plan import PreparedPlan, PreparedStep
from uici.runs.platforms import Platforms

_SHOWN = 120


def kept_state(platforms: Platforms, plan: PreparedPlan, step: PreparedStep) -> JsonObject:
    """The present values of what the step's operation keeps before a change; nothing when it keeps none."""
    before = step.operation.before
    if before is None:
        return {}
    if before.read is not None:
        seen = platforms.read(plan.plan.environment, step.step.target, before.read, before.parameters)
    else:
        seen = platforms.perform_reads(plan.plan.environment, step, step.before)
    return {name: select(seen, path) for name, path in before.keep.items()}


def effect(platforms: Platforms, plan: PreparedPlan, step: PreparedStep, results: JsonObject) -> JsonObject:
    """What the verification of a step's operation looks at, after its calls gave `results`.

    Raises CallError and Problem as `Platforms.read`. The operation must have a verification.
    """
    check = step.operation.verification
    if check is not None and check.read is not None:
        return platforms.read(plan.plan.environment, step.step.target, check.read, check.parameters)
    return platforms.perform_reads(plan.plan.environment, step, step.verification, results)


def unmet(conditions: Iterable[Condition], result: JsonObject) -> str:
    """Which of `conditions` do not hold for `result`, with what was seen instead."""
    return "; ".join(
        f"wanted {condition.describe()}, saw {_seen(condition, result)}"
        for condition in conditions
        if not condition.holds(result)
    )


def _seen(condition: Condition, result: JsonObject) -> str:
    shown = ascii(mask({condition.field: select(result, condition.field)})[condition.field])
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
