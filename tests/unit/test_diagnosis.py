from __future__ import annotations

from typing import Any

from uici.diagnosis.findings import EVIDENCE_CHARACTERS, find, required_operations
from uici.model.incident import Observation
from uici.model.site import FindingRule, Strategy

RULES = {
    name: FindingRule.model_validate(rule)
    for name, rule in {
        "oom_killed": {
            "summary": "the kernel killed it for memory",
            "when": [
                {"operation": "status", "all": [{"field": "oom_killed", "equals": True}]},
                {
                    "operation": "status",
                    "all": [{"field": "exit_code", "equals": 137}, {"field": "state", "one_of": ["exited"]}],
                },
                {"operation": "logs", "all": [{"field": "lines", "matches": "(?i)out of memory"}]},
            ],
        },
        "quiet": {
            "summary": "no word",
            "when": [{"operation": "logs", "all": [{"field": "lines.0", "exists": False}]}],
        },
    }.items()
}


def _saw(operation: str, result: dict[str, Any] | None) -> Observation:
    error = None if result is not None else "down"
    return Observation(operation=operation, parameters={}, result=result, error=error)


def test_any_evidence_suffices_and_all_its_conditions_must_hold() -> None:
    found = find([_saw("status", {"exit_code": 137, "state": "exited", "oom_killed": False})], RULES)
    assert [finding.name for finding in found] == ["oom_killed"]
    assert found[0].operation == "status"
    assert found[0].evidence == {"exit_code": 137, "state": "exited"}
    assert find([_saw("status", {"exit_code": 137, "state": "running"})], RULES) == ()


def test_an_observation_that_failed_establishes_nothing_not_even_an_absence() -> None:
    assert find([_saw("logs", None)], RULES) == ()
    assert [finding.name for finding in find([_saw("logs", {"lines": []})], RULES)] == ["quiet"]


def test_findings_come_in_the_order_of_the_rules_each_once() -> None:
    seen = [_saw("logs", {"lines": []}), _saw("status", {"oom_killed": True}), _saw("status", {"oom_killed": True})]
    assert [finding.name for finding in find(seen, RULES)] == ["oom_killed", "quiet"]


def test_evidence_shows_the_lines_that_matched_and_is_bounded() -> None:
    lines = ["fine"] * 50 + ["x Out of memory " + "y" * 9000] + ["out of memory"] * 20
    (found,) = find([_saw("logs", {"lines": lines})], RULES)
    shown = found.evidence["lines"]
    assert len(shown) == 5
    assert all("memory" in line for line in shown)
    assert len(shown[0]) == EVIDENCE_CHARACTERS
    assert shown[0].endswith("…")


def test_evidence_of_an_object_is_bounded_text() -> None:
    rules = {
        "big": FindingRule.model_validate(
            {"summary": "s", "when": [{"operation": "o", "all": [{"field": "a", "exists": True}]}]}
        )
    }
    (found,) = find([_saw("o", {"a": {str(number): "v" for number in range(500)}})], rules)
    assert len(found.evidence["a"]) == EVIDENCE_CHARACTERS


def _strategy(diagnose: list[Any], **when: list[str]) -> Strategy:
    return Strategy.model_validate(
        {
            "match": ['a="b"'],
            "diagnose": diagnose,
            "remedies": [{"name": "r", "when": when, "steps": ["restart_service"]}],
        }
    )


def test_required_operations_add_what_a_rung_asks_for_and_nothing_reads() -> None:
    listed = [{"operation": "logs", "parameters": {"lines": 5}}, {"operation": "logs", "parameters": {"lines": 5}}]
    names = [step.operation for step in required_operations(_strategy(listed, any=["oom_killed"]), RULES)]
    assert names == ["logs"]
    assert [step.operation for step in required_operations(_strategy([], none=["oom_killed"]), RULES)] == ["status"]
    assert required_operations(_strategy([], all=["unheard_of"]), RULES) == ()
