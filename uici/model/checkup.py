"""Checks of a check-up: what was looked at, how it is, what was seen, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import model_validator

from uici.model.base import Frozen


class CheckState(StrEnum):
    """How a thing is. `skip` was not looked at, and says why."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class Check(Frozen):
    """One check. What is not well says what to do."""

    name: str
    state: CheckState
    seen: str
    advice: str = ""

    @model_validator(mode="after")
    def _advises(self) -> Check:
        if self.state in (CheckState.WARN, CheckState.FAIL) and not self.advice:
            raise ValueError(f"the check {self.name!r} is {self.state} and does not say what to do")
        return self


def ok(name: str, seen: str) -> Check:
    """All is well."""
    return Check(name=name, state=CheckState.OK, seen=seen)


def warn(name: str, seen: str, advice: str) -> Check:
    """It works, and something should be done."""
    return Check(name=name, state=CheckState.WARN, seen=seen, advice=advice)


def fail(name: str, seen: str, advice: str) -> Check:
    """It does not work."""
    return Check(name=name, state=CheckState.FAIL, seen=seen, advice=advice)


def skip(name: str, why: str) -> Check:
    """It was not looked at."""
    return Check(name=name, state=CheckState.SKIP, seen=why)
