"""What is wrong with a step, and how all of it is said at once."""

from __future__ import annotations

from dataclasses import dataclass

from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong."""

    code: str
    detail: str
    where: str = ""
    allowed: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        """As an entry of a Problem's `errors`."""
        found: JsonObject = {"code": self.code, "detail": self.detail}
        if self.where:
            found["where"] = self.where
        if self.allowed:
            found["allowed"] = list(self.allowed)
        return found


@dataclass(frozen=True)
class StepError(Exception):
    """A step that cannot be translated, with everything that is wrong with it."""

    found: tuple[Found, ...]


def unknown(what: str, given: str, choices: tuple[str, ...]) -> Found:
    """Something is named that does not exist."""
    listed = ", ".join(choices) or "none"
    detail = f"no {what} is called {given!r:.120}; valid choices {listed}{did_you_mean(given, choices)}"
    return Found(f"unknown_{what}", detail, what, choices)


def refusal(errors: list[JsonObject], steps: int) -> Problem:
    """All that is wrong with the steps of a plan."""
    codes = {str(error["code"]) for error in errors}
    invalid = codes <= {"unknown_parameter", "missing_parameter", "wrong_type", "wrong_value", "out_of_bounds"}
    code = (
        codes.copy().pop() if len(codes) == 1 and not invalid else ("invalid_parameters" if invalid else "invalid_plan")
    )
    shown = [f"step {error['step']}: {error['detail']}" if steps > 1 else str(error["detail"]) for error in errors]
    return Problem(
        ProblemKind.UNPROCESSABLE,
        code,
        "; ".join(shown),
        where=str(errors[0].get("where", "")),
        allowed=errors[0].get("allowed", ()),
        hint="nothing was executed",
        errors=tuple(errors),
    )
