from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sites import site
from uici.model.errors import Problem, ProblemKind
from uici.model.filling import IncidentValues
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import Origin, Plan, Step
from uici.model.site import Site
from uici.model.verdict import Answer
from uici.planning.ladder import explain, next_rungs, plan_for, refuse_self
from uici.planning.written import parse_plan

TARGETS = {
    "web": {"bindings": {"local": {"program": "web"}}},
    "me": {"aliases": ["healer"], "bindings": {"local": {"program": "x"}, "far": {"container": "uici"}}},
}
VALUES = IncidentValues.of(None, {"program": "web"}, "local", "web")
STRATEGIES = {
    "down": {
        "match": ['alertname="Down"'],
        "remedies": [
            {"name": "raise_memory", "when": {"all": ["oom_killed"]}, "steps": ["scale_service"]},
            {"name": "restart", "when": {"none": ["bad_configuration"]}, "steps": ["restart_service"]},
            {
                "name": "careful",
                "when": {"any": ["crash_loop", "oom_killed"]},
                "steps": [{"operation": "scale_service", "parameters": {"replicas": 2}}, "get_service_status"],
                "verify": {"within": 7},
            },
        ],
    }
}


def _site(**changes: Any) -> Site:
    return site(targets=TARGETS, strategies=STRATEGIES, **changes)


def _next(findings: set[str], tried: tuple[str, ...] = ()) -> Plan | None:
    rungs = next_rungs(_site(), "down", frozenset(findings), tried, VALUES)
    return plan_for(rungs[0], "down", "because", VALUES) if rungs else None


def test_rungs_come_in_order_when_their_findings_hold_and_each_once() -> None:
    names = []
    tried: tuple[str, ...] = ()
    while (plan := _next({"oom_killed"}, tried)) is not None:
        assert plan.remedy is not None
        names.append(plan.remedy)
        tried = (*tried, plan.remedy)
    assert names == ["raise_memory", "restart", "careful"]


def test_a_plan_carries_target_environment_origin_parameters_and_verification() -> None:
    plan = _next({"crash_loop"}, ("restart",))
    assert plan is not None
    assert (plan.strategy, plan.remedy, plan.origin, plan.reason) == ("down", "careful", Origin.RULE, "because")
    assert [(step.operation, step.target, step.parameters) for step in plan.steps] == [
        ("scale_service", "web", {"replicas": 2}),
        ("get_service_status", "web", {}),
    ]
    assert plan.verify is not None
    assert plan.verify.within == 7


def test_explain_says_why_each_rung_is_passed_over() -> None:
    assert dict(explain(_site(), "down", frozenset({"bad_configuration"}), (), VALUES)) == {
        "raise_memory": "needs oom_killed (found: bad_configuration)",
        "restart": "not with bad_configuration (found: bad_configuration)",
        "careful": "needs any of crash_loop, oom_killed (found: bad_configuration)",
    }
    assert ("restart", "it was tried already") in explain(_site(), "down", frozenset(), ("restart",), VALUES)


ONLY_PLANNING = SelfGuardLayers(intake=False, planning=True, translation=False, executor=False)


def _plan(target: str, verb: str = "restart_service", environment: str = "local") -> Plan:
    step = Step(operation=verb, target=target)
    return Plan(environment=environment, steps=(step,), origin=Origin.RULE, reason="r")


@pytest.mark.parametrize(
    "plan", [_plan("uici"), _plan("me"), _plan("me", environment="far"), _plan("me", "no_such_verb")]
)
def test_the_layer_planning_refuses_uici_itself_with_the_other_layers_off(plan: Plan) -> None:
    identity = SelfIdentity(names=frozenset({"uici", "healer"}))
    decision = refuse_self(plan, _site(), identity, ONLY_PLANNING)
    assert (decision.answer, decision.guard, decision.rule) == (Answer.DENY, "self-target", "planning")
    assert str(decision.value) in decision.reason
    assert refuse_self(plan, _site(), identity, SelfGuardLayers(planning=False)).answer is Answer.ALLOW


def test_uici_may_be_watched_and_others_be_healed() -> None:
    identity = SelfIdentity(names=frozenset({"uici", "healer"}))
    for plan in (_plan("me", "get_service_status"), _plan("web")):
        assert refuse_self(plan, _site(), identity, ONLY_PLANNING).answer is Answer.ALLOW


# --- hand-written plans ---


def _written(**changes: Any) -> dict[str, Any]:
    step = {"operation": "scale_service", "target": "web", "parameters": {"replicas": 2}}
    return {"environment": "local", "steps": [step], **changes}


def test_a_written_plan_is_its_authors() -> None:
    shown = _written(origin="rule", strategy="down", remedy="restart", reason="at night", verify={"within": 5})
    plan = parse_plan(shown, _site())
    assert (plan.origin, plan.strategy, plan.remedy, plan.reason) == (Origin.HUMAN, None, None, "at night")
    assert plan.verify is not None
    assert plan.verify.within == 5
    assert parse_plan({"steps": shown["steps"]}, _site()).environment == "local"


def test_a_plan_that_was_shown_can_be_handed_in_again() -> None:
    plan = parse_plan(_written(), _site())
    assert parse_plan(plan.model_dump(mode="json"), _site()) == plan


def test_all_that_is_wrong_with_a_plan_is_told_at_once() -> None:
    with pytest.raises(Problem) as caught:
        parse_plan(
            {
                "environment": "lokal",
                "step": 1,
                "verify": {"withn": 3, "interval": "fast"},
                "reason": 5,
                "steps": [
                    {"operation": "scale_servise", "target": "wob"},
                    {"operation": "scale_service", "target": "web", "parameters": {"replica": 2}, "why": 1},
                    {"operation": "scale_service", "target": "web", "parameters": {"replicas": "2", "note": 5}},
                    "restart",
                ],
            },
            _site(),
        )
    problem = caught.value
    assert problem.kind is ProblemKind.UNPROCESSABLE
    told = {error["pointer"]: error for error in problem.errors}
    assert set(told) == {
        "/step", "/environment", "/reason", "/verify/withn", "/verify/interval", "/steps/0/operation",
        "/steps/0/target", "/steps/1/why", "/steps/1/parameters/replica", "/steps/1/parameters/replicas",
        "/steps/2/parameters/replicas", "/steps/2/parameters/note", "/steps/3",
    }  # fmt: skip
    for pointer, suggestion in {
        "/step": "steps", "/environment": "local", "/verify/withn": "within", "/steps/0/operation": "scale_service",
        "/steps/0/target": "web", "/steps/1/parameters/replica": "replicas",
    }.items():  # fmt: skip
        assert f"did you mean '{suggestion}'" in told[pointer]["detail"]
    assert told["/steps/1/parameters/replicas"]["code"] == "missing_parameter"


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_a_document_that_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(Problem) as caught:
        parse_plan(document, _site())
    assert caught.value.kind is ProblemKind.INVALID


@pytest.mark.parametrize("steps", [None, [], {}, "x", [{"operation": "get_service_status", "target": "web"}] * 51])
def test_a_plan_has_1_to_50_steps(steps: object) -> None:
    with pytest.raises(Problem, match="1 to 50"):
        parse_plan(_written(steps=steps), _site())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, 1.5, "2", None, [2]])
def test_a_parameter_of_another_type_is_refused_never_converted(value: object) -> None:
    step = {"operation": "scale_service", "target": "web", "parameters": {"replicas": value}}
    with pytest.raises(Problem) as caught:
        parse_plan(_written(steps=[step]), _site())
    assert caught.value.where == "/steps/0/parameters/replicas"


@pytest.mark.parametrize(
    "text", ["; rm -rf /", "$(reboot)", "a\nb", "--force", "../../etc", "{{ x }}", "${env:HOME}", "`id`", "\x00"]
)
def test_hostile_texts_stay_texts(text: str) -> None:
    step = {"operation": "scale_service", "target": "web", "parameters": {"replicas": 1, "note": text}}
    assert parse_plan(_written(steps=[step]), _site()).steps[0].parameters["note"] == text
    for field in ("operation", "target"):
        with pytest.raises(Problem):
            parse_plan(_written(steps=[{**step, field: text}]), _site())


def test_a_target_must_be_bound_where_the_plan_goes() -> None:
    both = {"local": {"platform": "local"}, "far": {"platform": "docker"}}
    with pytest.raises(Problem, match="is not bound in 'far'"):
        parse_plan(_written(environment="far"), _site(environments=both))


GROUPED = {
    "down": {
        "match": ['alertname="Down"'],
        "remedies": [
            {"name": "before", "when": {"all": ["oom_killed"]}, "steps": ["restart_service"]},
            {"name": "one", "alternative": "g", "steps": ["restart_service"]},
            {"name": "two", "alternative": "g", "when": {"none": ["oom_killed"]}, "steps": ["restart_service"]},
            {"name": "after", "steps": ["restart_service"]},
        ],
    }
}


@pytest.mark.parametrize(
    ("findings", "tried", "vetoed", "expected"),
    [
        (set(), (), (), ["one", "two"]),
        (set(), ("two",), (), ["one"]),
        ({"oom_killed"}, (), (), ["before"]),
        ({"oom_killed"}, ("before",), (), ["one"]),
        (set(), ("one", "two"), (), ["after"]),
        (set(), (), ("one",), ["one", "two"]),
        (set(), (), ("one", "two"), ["after"]),
        ({"oom_killed"}, (), ("before",), ["one"]),
        (set(), ("one", "two"), ("after",), ["after"]),
        (set(), ("one",), ("two", "after"), ["two"]),
        (set(), ("one", "two", "after"), (), []),
    ],
)
def test_a_group_keeps_its_place_and_vetoed_rungs_are_passed_over_while_there_are_others(
    findings: set[str], tried: tuple[str, ...], vetoed: tuple[str, ...], expected: list[str]
) -> None:
    grouped = site(targets=TARGETS, strategies=GROUPED)
    rungs = next_rungs(grouped, "down", frozenset(findings), tried, VALUES, vetoed)
    assert [rung.name for rung in rungs] == expected
