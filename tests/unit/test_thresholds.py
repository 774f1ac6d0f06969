"""Every threshold of policies.yml, taken from its shape: what it cannot be, the guards deny.

They are fed the bad value directly, as if there were no loader.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.guarding import context, policies
from tests.unit.sites import prepared
from uici.guard.context import GuardContext
from uici.guard.judging import combined, judge
from uici.model.base import Frozen
from uici.model.call import Risk
from uici.model.plan import Origin
from uici.model.site import Autonomy
from uici.model.thresholds import complaint, thresholds, usable, wanted
from uici.model.verdict import Answer

THRESHOLDS = {".".join(path): kind for path, kind in thresholds()}
VALUES: dict[str, Any] = {
    "missing": None,
    "text": "5",
    "word": "soon",
    "truth": True,
    "list": [1],
    "nan": float("nan"),
    "infinite": float("inf"),
    "below": float("-inf"),
    "negative": -1,
    "absurd": 1e15,
    "huge": 10**20,
}


def judging(threshold: str, value: Any) -> GuardContext:
    """Circumstances in which every guard looks at its thresholds, among them one that wants a person's word."""
    *section, name = threshold.split(".")
    if name == "council_autonomy":
        return context(plan=prepared(origin=Origin.COUNCIL), policies=policies(council_autonomy=value))
    if not section:
        return context(autonomy=value)
    return context(plan=prepared(risk=Risk.HIGH), policies=policies(**{section[0]: {name: value}}))


def test_the_shape_is_walked_to_its_leaves() -> None:
    assert set(THRESHOLDS) == {
        "autonomy",
        "council_autonomy",
        "risk.auto_approve_up_to",
        "cooldown.seconds",
        "give_up.ineffective_runs",
        "give_up.within_seconds",
        "blast_radius.min_healthy",
        "blast_radius.max_concurrent",
        "blast_radius.max_per_hour",
        "dependencies.correlation_seconds",
        "dependencies.wait_seconds",
        "dependencies.recover_seconds",
        "mass_failure.share",
        "mass_failure.at_least",
        "mass_failure.within_seconds",
        "mass_failure.release_share",
        "mass_failure.release_seconds",
        "approval.expires_seconds",
    }  # one that is added is tested below by itself; here it is looked at once by a person


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("kind", VALUES)
def test_a_guard_that_is_fed_it_denies_and_names_guard_rule_and_value(threshold: str, kind: str) -> None:
    decisions = judge(judging(threshold, VALUES[kind]))
    assert combined(decisions) is Answer.DENY
    because = [item for item in decisions if item.answer is Answer.DENY]
    name = threshold.rpartition(".")[2]
    assert because
    for item in because:
        assert item.guard
        assert item.rule in (name, "unknown")
        assert repr(VALUES[kind]) in item.reason, item.reason
        assert threshold in item.reason, item.reason
        assert "set " in item.reason


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_usual_value_is_usable_and_allows(threshold: str) -> None:
    decisions = judge(context())
    assert combined(decisions) is Answer.ALLOW
    *section, name = threshold.split(".")
    if section:
        part = getattr(policies(), section[0])
        assert usable(getattr(part, name), part, name)


def edges() -> Iterator[tuple[str, type[Frozen], float]]:
    for path, kind in thresholds():
        said = wanted(kind, path[-1])
        if "from" in said:
            least, most = said.split("from ")[1].split(" to ")
            for edge in (float(least), float(most)):
                yield path[-1], kind, edge


@pytest.mark.parametrize(("name", "kind", "edge"), list(edges()))
def test_the_edges_themselves_are_allowed_and_what_lies_beyond_is_not(
    name: str, kind: type[Frozen], edge: float
) -> None:
    part = kind.model_construct()
    whole = "whole" in wanted(kind, name)
    value: Any = int(edge) if whole else edge
    step: Any = 1 if whole else 0.001
    assert usable(value, part, name)
    assert [usable(value - step, part, name), usable(value + step, part, name)].count(True) == 1


def test_a_complaint_says_where_what_and_what_to_set() -> None:
    part = policies().cooldown
    assert complaint(-1, part, "seconds") == "cooldown.seconds is -1 in policies.yml; set a number from 0 to 604800"
    assert wanted(type(policies().risk), "auto_approve_up_to") == "one of low, medium, high, destructive"


def test_a_person_who_has_approved_is_not_asked_again_so_no_time_is_needed() -> None:
    given = context(plan=prepared(risk=Risk.HIGH), approved=True, policies=policies(approval={"expires_seconds": None}))
    assert combined(judge(given)) is Answer.ALLOW


def test_who_is_not_asked_needs_no_time_either() -> None:
    assert combined(judge(context(policies=policies(approval={"expires_seconds": None})))) is Answer.ALLOW
    asked = context(autonomy=Autonomy.APPROVE, policies=policies(approval={"expires_seconds": None}))
    (denial,) = [item for item in judge(asked) if item.answer is Answer.DENY]
    assert (denial.guard, denial.rule, denial.value) == ("autonomy", "expires_seconds", None)
