"""Answers: of verification (verdicts) and of guards (decisions)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import TypeAdapter

from uici.model.base import Frozen, JsonObject, JsonValue


class Verdict(StrEnum):
    """What verification says of a remedy."""

    EFFECTIVE = "effective"
    INEFFECTIVE = "ineffective"
    INCONCLUSIVE = "inconclusive"


class Answer(StrEnum):
    """A guard's answer."""

    ALLOW = "allow"
    DENY = "deny"
    NEEDS_APPROVAL = "needs_approval"


class Decision(Frozen):
    """One guard's answer, always with its reason: which guard, which rule, which value."""

    guard: str
    answer: Answer
    rule: str
    value: JsonValue
    reason: str


_DECISIONS: TypeAdapter[tuple[Decision, ...]] = TypeAdapter(tuple[Decision, ...])


def as_json(decisions: Iterable[Decision]) -> list[JsonObject]:
    """Decisions as JSON."""
    shown: list[JsonObject] = _DECISIONS.dump_python(tuple(decisions), mode="json")
    return shown
