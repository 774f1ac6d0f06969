"""The rules that `uici rbac` prints for nodes, schedules and jobs: enough for every call, and none too many."""

from __future__ import annotations

from functools import partial

import pytest

from executors.kubernetes.access import Right, rights_of
from executors.kubernetes.needs import FINDING
from tests.integration.kubernetes_ground import binding, make_call, workload
from tests.integration.test_kubernetes_access import Restricted, restricted
from tests.integration.test_kubernetes_nodes import on_node, running
from tests.integration.test_kubernetes_upkeep import schedule
from tests.real.kubernetes import RealCluster
from tests.real.kubernetes_node import played_node
from tests.waiting import until
from uici.model.call import Call, CallError, Happened

__all__ = ["restricted"]


def refused(made: Restricted, call: Call, right: Right) -> bool:
    """Whether the call, or the proof of it, says which right it lacks."""
    try:
        before = made.executor.before(call)
        made.executor.perform(call)
        made.executor.happened(call, before)
    except CallError as error:
        return f"may not {right.verb} {right.resource}" in error.message
    return False


def none_is_too_many(made: Restricted, calls: list[Call], namespace: str) -> None:
    # Those of looking up what an alert means are no call's own.
    look_ups = {(f"{need.kind}s".lower(), verb) for need in FINDING for verb in need.verbs}
    for right in sorted(made.given, key=str):
        if (right.resource, right.verb) in look_ups:
            continue
        made.without(right)
        using = [call for call in calls if right in rights_of([(call.name, call.arguments)], namespace).rights]
        assert any([refused(made, call, right) for call in using]), right
        made.again(right)


@pytest.mark.timeout(400)
def test_the_rules_of_schedules(restricted: Restricted, real_cluster: RealCluster, namespace: str) -> None:
    target = binding("CronJob", namespace, "nightly")
    real_cluster.apply(schedule(namespace, real_cluster))
    names = ("schedule.state", "workload.events", "schedule.suspend", "schedule.resume", "job.rerun")
    calls = [make_call(name, target=target) for name in names]
    restricted.give(calls)
    for call in calls:
        before = restricted.executor.before(call)
        restricted.executor.perform(call)
        assert not call.mutates or restricted.executor.happened(call, before) is Happened.YES
    # Each way once more, so that each has something to change.
    again = [*calls, *(make_call(name, target=target) for name in ("schedule.suspend", "schedule.resume"))]
    none_is_too_many(restricted, again, namespace)


def done(restricted: Restricted, call: Call) -> bool:
    """Whether it was carried out; False when a controller wrote to the node meanwhile, which a run tries again."""
    try:
        restricted.executor.perform(call)
    except CallError as error:
        if error.code != "conflict":
            raise
        return False
    return True


@pytest.mark.timeout(400)
def test_the_rules_of_a_node(restricted: Restricted, real_cluster: RealCluster, namespace: str) -> None:
    with played_node(real_cluster, f"{namespace}-node") as node:
        real_cluster.apply(on_node(workload("Deployment", namespace, "web"), node))
        until(lambda: len(running(node)) == 1, "the pod runs")
        target = {"kind": "Node", "name": node.name}
        names = ("node.state", "node.cordon", "node.uncordon", "node.drain", "node.uncordon")
        calls = [make_call(name, target=target) for name in names]
        restricted.give(calls)
        for call in calls:
            until(partial(done, restricted, call), call.name)
        until(lambda: len(running(node)) == 1, "the pod runs there again")
        none_is_too_many(restricted, calls, namespace)
