"""Refusals of what lies outside of a caller's scope."""

from __future__ import annotations

from uici.model.call import Risk
from uici.model.errors import Problem, ProblemKind
from uici.model.scope import Scope


def require_place(scope: Scope, environment: str | None, target: str | None) -> None:
    """Raises Problem where this target in this environment is not within the scope."""
    if not scope.covers(environment, target):
        what = f"{target or 'what has no target'} in {environment or 'no environment'}"
        raise out_of_scope(f"{what} is not within the scope of this credential", scope)


def require_risk(scope: Scope, risk: Risk) -> None:
    """Raises Problem where a plan of this risk may not be started or approved."""
    if not scope.permits(risk):
        raise out_of_scope(f"the plan's risk is {risk}, and this credential reaches up to {scope.highest_risk}", scope)


def require_everywhere(scope: Scope) -> None:
    """Raises Problem for a scope with limits, where something is about the whole installation."""
    if not scope.everywhere:
        raise out_of_scope("this is about all environments and targets, and this credential is limited", scope)


def out_of_scope(detail: str, scope: Scope) -> Problem:
    """The refusal of what is not within this scope."""
    return Problem(
        ProblemKind.FORBIDDEN,
        "out_of_scope",
        detail,
        where="header Authorization",
        allowed=[str(scope)],
        hint="use a credential with a wider scope: uici token create --environment … --target … --highest-risk …",
    )
