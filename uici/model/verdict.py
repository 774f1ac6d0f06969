"""Answers: of verification (verdicts) and of guards (decisions)."""

from __future__ import annotations

from enum import StrEnum

from uici.model.base import Frozen, JsonValue


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
