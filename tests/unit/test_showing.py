"""What a preview says would become of a plan: until when it waits, and for whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.guarding import context, policies
from tests.unit.sites import NOW, prepared
from uici.guard.judging import judge
from uici.model.call import Risk
from uici.model.site import Autonomy
from uici.runs.showing import of_prepared, outcome, turns


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "would run"),
        ({"plan": prepared(risk=Risk.HIGH)}, "would wait for approval"),
        ({"autonomy": Autonomy.OBSERVE}, "would be recorded, not run"),
        ({"autonomy": Autonomy.PROPOSE, "frozen": ("ann", "storm")}, "would be recorded, not run"),
        ({"autonomy": Autonomy.OBSERVE, "plan": prepared(target="uici")}, "would be refused"),
        ({"autonomy": None}, "would be refused"),
        ({"frozen": ("ann", "storm")}, "would be refused"),
        ({"holder": "run_7"}, "it would wait for run_7 to be done with the target"),
        (
            {"last_run_ended": NOW - timedelta(seconds=15)},
            "it would wait until 2026-03-01 12:00:45 UTC, when the target has rested",
        ),
        (
            {"last_run_ended": NOW + timedelta(hours=1)},
            "it would wait until 2026-03-01 12:01:00 UTC, when the target has rested",
        ),
        ({"acting": 2}, "it would wait for one of the 2 runs that act in local to end"),
        ({"started_last_hour": 10}, "would be refused"),
        ({"policies": policies(cooldown={"seconds": None})}, "would be refused"),
        ({"holder": "run_7", "frozen": ("ann", "storm")}, "would be refused"),
    ],
)
def test_what_would_become_of_it(changes: dict[str, Any], said: str) -> None:
    given = context(**changes)
    decisions = judge(given)
    waiting = said.startswith("it would wait")
    assert outcome(given, decisions) == ("would wait for its turn" if waiting else said)
    assert turns(given, decisions) == ([said] if waiting else [])
    assert set(turns(given, decisions)) <= set(of_prepared(given, decisions, [None])["notes"])
