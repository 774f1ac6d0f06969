"""Undo of every reversible verb, on every real platform: the state after it is the state before, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.contract.rig import Balancer, Rig, fresh
from tests.real.components import REPOSITORY
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject, JsonValue
from uici.model.condition import select
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import Origin, Plan, PreparedStep, Step
from uici.model.site import Environment, Site, TargetSpec
from uici.ports import Executor
from uici.translation.selections import operation_result, resolve_selections
from uici.translation.translating import inverse_step, prepare

EXECUTORS = discover_executors()
Steps = list[tuple[str, JsonObject]]
CASES: dict[str, Callable[[Rig], tuple[Steps, JsonObject]]] = {
    # verb -> what is done first, and the parameters with which it changes something
    "scale_service": lambda rig: ([], {"replicas": 3}),
    "update_resources": lambda rig: ([], {"cpus": 0.5, "memory_bytes": 128 * 1024 * 1024}),
    "set_configuration": lambda rig: (
        [],
        {"environment": {"COLOUR": "red", "NEW": "1", "ODD": "a=b c\n\"d'"}, "remove": ["SECRET_CANARY"]},
    ),
    "deploy_version": lambda rig: ([], {"version": rig.version("bad")}),
    "rollback_version": lambda rig: ([("deploy_version", {"version": rig.version("bad")})], {}),
    "drain_backend": lambda rig: ([], {}),
    "undrain_backend": lambda rig: ([("set_backend_state", {"state": "maint"})], {}),
    "set_backend_state": lambda rig: ([("drain_backend", {})], {"state": "maint", "weight": 9}),
    "cordon_node": lambda rig: ([], {}),
    "uncordon_node": lambda rig: ([("cordon_node", {})], {}),
    "drain_node": lambda rig: ([], {}),
    "suspend_schedule": lambda rig: ([], {}),
    "resume_schedule": lambda rig: ([("suspend_schedule", {})], {}),
}
OF_OTHER_THINGS = ("cordon_node", "uncordon_node", "drain_node", "suspend_schedule", "resume_schedule")
"""About nodes and schedules, which no service is: tests/integration/test_kubernetes_undo.py undoes them."""
UNDONE_ELSEWHERE = {
    "set_restart_policy": "test_packs_docker.py",
    "resize_instance_pool": "test_packs_oci.py",
    "set_backend_drain": "test_packs_oci.py",
}
"""Verbs of one platform alone, with the file of tests/integration that undoes each on it."""
AT_THE_BALANCER = ("drain_backend", "undrain_backend", "set_backend_state")
SITE: Site = load_site(None, executors=EXECUTORS)
REVERSIBLE = sorted(name for name, operation in SITE.operations.items() if operation.mutates and operation.reversible)


class Hand:
    """Does operations as a run would, call by call, without the rest of it."""

    def __init__(self, rig: Rig, executor: Executor, binding: JsonObject) -> None:
        self.rig = rig
        self.executor = executor
        target, place = TargetSpec(bindings={rig.platform: binding}), Environment(platform=rig.platform)
        self.site = SITE.model_copy(update={"targets": {"it": target}, "environments": {rig.platform: place}})

    def prepared(self, operation: str, parameters: JsonObject) -> PreparedStep:
        step = Step(operation=operation, target="it", parameters=parameters)
        plan = Plan(environment=self.rig.platform, steps=(step,), origin=Origin.HUMAN, reason="a test")
        specs = {name: executor.call_specs for name, executor in EXECUTORS.items()}
        classify = {name: executor.classify for name, executor in EXECUTORS.items()}
        return prepare(plan, self.site, specs, classify, SelfIdentity(), SelfGuardLayers()).steps[0]

    def do(self, operation: str, parameters: JsonObject) -> JsonObject:
        step = self.prepared(operation, parameters)
        results: dict[str, JsonValue] = {}
        for call in step.calls:
            ready = call.model_copy(update={"arguments": resolve_selections(call.arguments, results)})
            results[call.id] = self.executor.perform(ready)
        return operation_result(step, results)

    def kept(self, step: PreparedStep) -> JsonObject:
        """The values that undo would restore, kept as a run keeps them."""
        before = step.operation.before
        assert before is not None
        assert before.read is not None
        seen = self.do(before.read, before.parameters)
        found: JsonObject = json.loads(json.dumps({name: select(seen, path) for name, path in before.keep.items()}))
        return found


@pytest.fixture
def hand(rig: Rig) -> Iterator[Hand]:
    binding = fresh(rig)
    executor = rig.executor()
    yield Hand(rig, executor, binding)
    executor.close()


def state(hand: Hand, balancer: Balancer | None) -> JsonObject:
    """Everything configured: by the platform, by what people read, by the load balancer."""
    described = hand.do("describe_service", {})
    return {
        "platform": hand.rig.configuration(),
        "described": {name: value for name, value in described.items() if name != "status"},
        "state": described["status"]["state"],
        "running": described["status"]["running"],
        "balancer": balancer.settings() if balancer is not None else None,
    }


def difference(before: JsonValue, now: JsonValue, at: str = "") -> list[str]:
    """Every field in which two states are not the same, with both values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = sorted({*before, *now})
        return [line for name in names for line in difference(before.get(name), now.get(name), f"{at}/{name}")]
    return [] if before == now else [f"{at}: {before!r} -> {now!r}"]


def test_every_reversible_verb_has_a_case_here() -> None:
    assert {*CASES, *UNDONE_ELSEWHERE} == set(REVERSIBLE), "a verb that can be undone is proved to be undone here"
    for verb, file in UNDONE_ELSEWHERE.items():
        assert f'"{verb}"' in (REPOSITORY / "tests" / "integration" / file).read_text()


@pytest.mark.parametrize("verb", sorted(CASES))
def test_the_state_after_an_undo_is_the_state_before(hand: Hand, verb: str) -> None:
    why = SITE.operations[verb].translations[hand.rig.platform].unsupported
    if why is not None:
        with pytest.raises(Exception, match=why[:40]):
            hand.prepared(verb, CASES[verb](hand.rig)[1])
        return
    if verb in OF_OTHER_THINGS:
        return
    balancer = hand.rig.balancer() if verb in AT_THE_BALANCER else None
    first, parameters = CASES[verb](hand.rig)
    for operation, given in first:
        hand.do(operation, given)
    before = state(hand, balancer)
    step = hand.prepared(verb, parameters)
    kept = hand.kept(step)
    hand.do(verb, parameters)
    assert difference(before, state(hand, balancer)), f"{verb} changed nothing, so this proves nothing"
    inverse = inverse_step(step, kept)
    assert inverse is not None
    hand.do(inverse.operation, dict(inverse.parameters))
    assert difference(before, state(hand, balancer)) == []
    assert hand.kept(step) == kept


def test_after_an_undone_deployment_a_rollback_means_what_it_meant_before(hand: Hand) -> None:
    step = hand.prepared("deploy_version", {"version": hand.rig.version("bad")})
    kept, before = hand.kept(step), hand.do("describe_service", {})
    hand.do("deploy_version", {"version": hand.rig.version("bad")})
    inverse: Any = inverse_step(step, kept)
    hand.do(inverse.operation, inverse.parameters)
    described = hand.do("describe_service", {})
    for name in ("previous_version", "deployed_at", "deployment"):
        assert described[name] == before[name]
    with pytest.raises(Exception, match="deploy"):
        hand.do("rollback_version", {})
