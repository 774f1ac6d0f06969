"""A preview changes nothing: every call of the Kubernetes executor that changes something, rehearsed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.integration.kubernetes_ground import binding, make_call, new_executor, oldest_node, workload
from tests.real.kubernetes import RealCluster
from uici.model.base import JsonObject
from uici.model.call import CallError

_GIVEN: dict[str, JsonObject] = {
    "workload.configure": {"environment": {"COLOUR": "red"}},
    "workload.update": {"memory_bytes": 64 * 2**20},
    "workload.deploy": {"version": "late"},
    "workload.scale": {"replicas": 3},
    "workload.exec": {"argv": ["/bin/sh", "-c", "exit 1"]},
    "node.drain": {"local_data": True, "unmanaged_pods": True},
}
_APART = {"kubernetes.request", "workload.set_backend"}
"""The one is tried verb by verb in test_kubernetes_open.py; the other asks a load balancer and no cluster."""


@pytest.fixture
def executor(real_cluster: RealCluster) -> Iterator[KubernetesExecutor]:
    made = new_executor(real_cluster)
    yield made
    made.close()


def versions(cluster: RealCluster, namespace: str) -> dict[str, str]:
    """Every object of the namespace, and whether the node takes pods."""
    node = cluster.get("node", oldest_node(cluster))
    return {**cluster.resource_versions(namespace), "the node": str(node["spec"].get("unschedulable", False))}


def test_rehearsing_every_call_changes_no_object(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    rolled = ("Deployment", "StatefulSet", "DaemonSet")
    real_cluster.apply(*(workload(kind, namespace, kind.lower()) for kind in rolled))
    for kind in rolled:
        real_cluster.kubectl("-n", namespace, "rollout", "status", f"{kind}/{kind.lower()}", "--timeout=90s")
    node = oldest_node(real_cluster)
    targets = [binding(kind, namespace, kind.lower()) for kind in rolled] + [{"kind": "Node", "name": node}]
    before = versions(real_cluster, namespace)
    rehearsed: set[str] = set()
    answered: dict[str, bool] = {}
    for name, spec in KubernetesExecutor.call_specs.items():
        if not spec.mutates or name in _APART:
            continue
        for target in targets:
            try:
                call = make_call(name, target=target, **_GIVEN.get(name, {}))
                found = executor.rehearse(call)
            except CallError:
                continue  # it means nothing for this kind, or knows no dry run
            finally:
                rehearsed.add(name)
            answered[name] = answered.get(name, False) or (found is not None and bool(found.accepted))
    assert versions(real_cluster, namespace) == before
    unanswered = rehearsed - {name for name, accepted in answered.items() if accepted}
    # There is neither a schedule nor a job nor an earlier version here, and a program knows no dry run.
    assert unanswered <= {
        "schedule.suspend", "schedule.resume", "job.rerun", "workload.exec", "workload.rollback", "workload.start",
        "workload.replace", "node.drain",
    }, answered  # fmt: skip
