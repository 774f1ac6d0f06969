"""Verbs for Oracle Cloud that are only YAML, on the simulator with the SDK's real clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.oci import OciExecutor
from tests.integration.oci_ground import Ground
from tests.integration.test_oci_simulator_services import BALANCERS, POOLS, balancer, members, pool
from tests.integration.test_packs import prepared_step
from tests.integration.test_reload_service import EXECUTORS, perform
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject
from uici.model.condition import all_hold
from uici.model.errors import Problem
from uici.model.identity import SelfIdentity
from uici.model.plan import PreparedReading, PreparedStep
from uici.model.site import Environment, Site
from uici.ports import ExecutorContext
from uici.translation.selections import complete, operation_result
from uici.translation.translating import inverse_step


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path, speed=500.0)  # what a verb waits for comes by itself
    yield ground
    ground.close()


class Hand:
    """Carries out verbs of the shipped catalogue, with the state before and the verification, as a run does."""

    def __init__(self, cloud: Ground) -> None:
        settings: JsonObject = {
            "auth": {"file": str(cloud.simulator.credentials.config_file)},
            "endpoint": cloud.simulator.url,
            "compartment": cloud.simulator.compartment,
        }
        self.executor = OciExecutor(ExecutorContext(environment="oci", settings=settings, identity=SelfIdentity()))
        shipped = load_site(None, executors=EXECUTORS)
        self.site: Site = shipped.model_copy(update={"environments": {"oci": Environment(platform="oci")}})

    def step(self, operation: str, binding: JsonObject, **parameters: object) -> PreparedStep:
        step: PreparedStep = prepared_step(self.site, "oci", operation, binding, parameters)
        return step

    def look(self, reading: PreparedReading | None, results: dict[str, Any]) -> JsonObject:
        assert reading is not None
        for call in reading.calls:
            spec = self.executor.call_specs[call.name]
            results[call.id] = self.executor.perform(complete(call, results, spec, self.executor.classify))
        return operation_result(reading, results)

    def do(self, step: PreparedStep) -> PreparedStep:
        """Carry it out, see that it is verified, and return the step that takes it back."""
        assert step.operation.verification is not None
        before = self.look(step.before, {})
        results: dict[str, Any] = {"settled": {"body": {"id": perform(self.executor, step).get("pool")}}}
        assert all_hold(step.operation.verification.expect, self.look(step.verification, results))
        inverse = inverse_step(step, before)
        assert inverse is not None
        return self.step(inverse.operation, step.binding, **inverse.parameters)


@pytest.fixture
def hand(cloud: Ground) -> Iterator[Hand]:
    hand = Hand(cloud)
    yield hand
    hand.executor.close()


def test_a_pool_is_resized_and_goes_back(cloud: Ground, hand: Hand) -> None:
    made = pool(cloud, 1)
    binding = {"instance_pool": made.display_name, "compartment": cloud.simulator.compartment}
    back = hand.do(hand.step("resize_instance_pool", binding, size=2))
    assert len(members(cloud, made.id)) == 2
    assert back.step.parameters == {"size": 1}
    hand.do(back)
    assert len(members(cloud, made.id)) == 1
    with pytest.raises(Problem, match="fits none of the 0 items"):
        perform(hand.executor, hand.step("resize_instance_pool", {**binding, "instance_pool": "other"}, size=2))
    assert cloud.client(POOLS).get_instance_pool(made.id).data.size == 1


def test_a_backend_is_drained_and_goes_back(cloud: Ground, hand: Hand) -> None:
    front = balancer(cloud, "10.0.0.9")
    client = cloud.client(BALANCERS)
    given = {"load_balancer": front.id, "backend_set": "web", "backend": "10.0.0.9:8080"}

    def backend() -> Any:
        return client.get_backend(front.id, "web", "10.0.0.9:8080").data

    before = backend()
    back = hand.do(hand.step("set_backend_drain", {"instance": "web-1"}, **given))
    assert (backend().drain, backend().weight, backend().backup) == (True, before.weight, before.backup)
    hand.do(back)
    assert backend() == before
