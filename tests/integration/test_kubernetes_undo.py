"""Undo of the verbs about nodes and schedules, on a real cluster: the object after it is the object before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.contract.rig import Rig
from tests.contract.test_undo import CASES, OF_OTHER_THINGS, Hand
from tests.integration.kubernetes_ground import binding, new_executor
from tests.integration.test_kubernetes_upkeep import schedule
from tests.real.kubernetes import RealCluster
from tests.real.kubernetes_node import played_node
from uici.model.base import JsonObject
from uici.translation.translating import inverse_step

RIG = cast(Rig, SimpleNamespace(platform="kubernetes"))


def undone(cluster: RealCluster, target: JsonObject, verb: str, *where: str) -> None:
    executor = new_executor(cluster)
    hand = Hand(RIG, executor, target)

    def spec() -> Any:
        found = cluster.get(*where)
        return {name: value for name, value in found["spec"].items() if name != "taints"}

    first, parameters = CASES[verb](RIG)
    for operation, given in first:
        hand.do(operation, given)
    before, step = spec(), hand.prepared(verb, parameters)
    kept = hand.kept(step)
    hand.do(verb, parameters)
    assert spec() != before, f"{verb} changed nothing, so this proves nothing"
    inverse = inverse_step(step, kept)
    assert inverse is not None
    hand.do(inverse.operation, dict(inverse.parameters))
    assert spec() == before
    assert hand.kept(step) == kept
    executor.close()


@pytest.mark.parametrize("verb", [verb for verb in OF_OTHER_THINGS if "node" in verb])
def test_a_node_gets_pods_as_before(verb: str, real_cluster: RealCluster, namespace: str) -> None:
    with played_node(real_cluster, f"{namespace}-node") as node:
        undone(real_cluster, {"kind": "Node", "name": node.name}, verb, "node", node.name)


@pytest.mark.parametrize("verb", [verb for verb in OF_OTHER_THINGS if "schedule" in verb])
def test_a_schedule_is_as_before(verb: str, real_cluster: RealCluster, namespace: str) -> None:
    real_cluster.apply(schedule(namespace, real_cluster))
    undone(real_cluster, binding("CronJob", namespace, "nightly"), verb, "-n", namespace, "cronjob", "nightly")
