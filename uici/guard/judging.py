"""All guards, in one visible list, and what their answers mean together."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from uici.guard.autonomy import autonomy
from uici.guard.blast_radius import blast_radius
from uici.guard.context import GuardContext, deny
from uici.guard.cooldown import cooldown
from uici.guard.dependency import dependency
from uici.guard.freeze import freeze
from uici.guard.give_up import give_up
from uici.guard.lock import lock
from uici.guard.mass_failure import mass_failure
from uici.guard.risk import risk
from uici.guard.self_target import self_target
from uici.guard.veto import veto
from uici.guard.watch_only import watch_only
from uici.model.verdict import Answer, Decision

Guard = Callable[[GuardContext], Decision]

GUARDS: tuple[Guard, ...] = (
    self_target,
    watch_only,
    freeze,
    veto,
    autonomy,
    lock,
    cooldown,
    give_up,
    dependency,
    mass_failure,
    blast_radius,
    risk,
)
"""Every guard is asked every time, so that a denial names all its reasons at once."""


def judge(context: GuardContext, guards: Iterable[Guard] = GUARDS) -> tuple[Decision, ...]:
    """Every guard's decision, in order."""
    return tuple(_asked(guard, context) for guard in guards)


def combined(decisions: Iterable[Decision]) -> Answer:
    """The strictest answer: deny before needs-approval before allow. No decision at all is a denial."""
    answers = [decision.answer for decision in decisions]
    if not answers or any(answer not in (Answer.ALLOW, Answer.NEEDS_APPROVAL) for answer in answers):
        return Answer.DENY
    return Answer.NEEDS_APPROVAL if Answer.NEEDS_APPROVAL in answers else Answer.ALLOW


def _asked(guard: Guard, context: GuardContext) -> Decision:
    try:
        decision: object = guard(context)
    except Exception as error:
        # Fail closed: whatever went wrong inside a guard, it has not allowed anything.
        name = _name(guard)
        return deny(name, "guard_failed", type(error).__name__, f"the guard {name} failed: {error}")
    if not isinstance(decision, Decision):
        name = _name(guard)
        return deny(name, "guard_failed", repr(decision), f"the guard {name} gave no decision")
    return decision


def _name(guard: Guard) -> str:
    return str(getattr(guard, "__name__", repr(guard))).replace("_", "-")
