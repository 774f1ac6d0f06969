from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from uici.model.condition import Condition, all_hold, select

RESULT = {
    "code": 137, "state": "exited", "flag": True, "one": 1, "share": 0.5, "none": None, "nested": {"list": [{"x": 7}]},
    "lines": ["all fine", "Connection refused by db"], "text": "5",
}  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": "code", "equals": 137}, True),
        ({"field": "code", "equals": 137.0}, True),
        ({"field": "code", "equals": "137"}, False),
        ({"field": "one", "equals": True}, False),
        ({"field": "flag", "equals": 1}, False),
        ({"field": "flag", "equals": True}, True),
        ({"field": "none", "equals": None}, True),
        ({"field": "lost", "equals": None}, False),
        ({"field": "code", "not_equals": 0}, True),
        ({"field": "lost", "not_equals": 0}, False),
        ({"field": "state", "one_of": ["exited", "failed"]}, True),
        ({"field": "one", "one_of": [True]}, False),
        ({"field": "state", "matches": "^ex"}, True),
        ({"field": "lines", "matches": "(?i)connection REFUSED"}, True),
        ({"field": "code", "matches": "137"}, False),
        ({"field": "lost", "matches": ".*"}, False),
        ({"field": "code", "at_least": 137}, True),
        ({"field": "code", "at_least": 137.1}, False),
        ({"field": "share", "at_most": 0.5}, True),
        ({"field": "flag", "at_least": 0}, False),
        ({"field": "text", "at_least": 0}, False),
        ({"field": "lost", "at_most": 5}, False),
        ({"field": "state", "exists": True}, True),
        ({"field": "none", "exists": True}, False),
        ({"field": "none", "exists": False}, True),
        ({"field": "lost", "exists": False}, True),
        ({"field": "nested.list.0.x", "equals": 7}, True),
        ({"field": "nested.list.1.x", "exists": True}, False),
    ],
)
def test_conditions(condition: dict[str, Any], expected: bool) -> None:
    parsed = Condition.model_validate(condition)
    assert parsed.holds(RESULT) is expected
    assert condition["field"] in parsed.describe()


@pytest.mark.parametrize(
    "condition",
    [
        {"field": "a"},
        {"field": "", "equals": 1},
        {"field": "a", "equals": 1, "at_least": 2},
        {"field": "a", "matches": "("},
        {"field": "a", "equal": 1},
        {"field": "a", "at_least": None},
        {"field": "a", "at_most": None},
        {"field": "a", "matches": None},
        {"field": "a", "one_of": None},
        {"field": "a", "exists": None},
        {"field": "a", "at_least": "many"},
    ],
)
def test_a_condition_that_could_mean_anything_is_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate(condition)


def test_all_conditions_hold_together() -> None:
    conditions = [Condition(field="code", equals=137), Condition(field="state", equals="exited")]
    assert all_hold(conditions, RESULT)
    assert not all_hold([*conditions, Condition(field="flag", equals=False)], RESULT)


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b", 1), ("a.c", "d"), ("l.1", 20), ("l.-1", "d"), ("l.x", "d"), ("l.9", "d"), ("a.b.c", "d")],
)
def test_paths_lead_through_objects_and_lists(path: str, value: object) -> None:
    assert select({"a": {"b": 1}, "l": [10, 20]}, path, "d") == value
