"""A moment of each fuzz target; `make fuzz` takes minutes. And the fuzzing itself finds what is wrong."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import attempt
from tests.fuzz.targets import TARGETS
from uici.intake import payload

EXAMPLES = 60


@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of(name: str) -> None:
    strategy, check = TARGETS[name]
    attempt(strategy, check, 1, EXAMPLES)()


def test_two_ways_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "_decode_slowly", lambda body: {"version": "5"})
    strategy, check = TARGETS["payloads"]
    with pytest.raises(Exception, match=r"different things|is refused|sub-exceptions"):
        attempt(strategy, check, 1, 300)()
