"""Cordon, drain and uncordon on a real cluster: who is moved, who is not, and who says no."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.integration.kubernetes_ground import make_call, new_executor, proved, workload
from tests.real.kubernetes import RealCluster
from tests.real.kubernetes_node import PlayedNode, played_node
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened
from uici.model.identity import SelfIdentity


@pytest.fixture
def executor(real_cluster: RealCluster) -> Iterator[KubernetesExecutor]:
    made = new_executor(real_cluster)
    yield made
    made.close()


@pytest.fixture
def node(real_cluster: RealCluster, namespace: str) -> Iterator[PlayedNode]:
    with played_node(real_cluster, f"{namespace}-node") as made:
        yield made


def refusal(action: Callable[[], object]) -> CallError:
    with pytest.raises(CallError) as caught:
        action()
    return caught.value


def target(node: PlayedNode) -> JsonObject:
    return {"kind": "Node", "name": node.name}


def on_node(made: JsonObject, node: PlayedNode, **spec: object) -> JsonObject:
    made["spec"]["template"]["spec"] |= {**node.spec, **spec}
    return made


def budget(namespace: str, cluster: RealCluster, least: int) -> JsonObject:
    served = "policy/v1" if "policy/v1\n" in cluster.kubectl("api-versions") else "policy/v1beta1"
    spec = {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}}
    return {
        "apiVersion": served,
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep", "namespace": namespace},
        "spec": spec,
    }


def running(node: PlayedNode) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in node.pods() if pod["status"].get("phase") == "Running")


def test_cordon_and_uncordon(real_cluster: RealCluster, executor: KubernetesExecutor, node: PlayedNode) -> None:
    # Whoever keeps its labels in Git does not keep whether it gets pods.
    real_cluster.kubectl("label", "node", node.name, "argocd.argoproj.io/instance=fleet")
    state = make_call("node.state", target=target(node))
    seen = executor.perform(state)
    assert (seen["ready"], seen["schedulable"]) == (True, True)
    assert proved(executor, "node.cordon", target=target(node)) == {"changed": True, "schedulable": False}
    assert executor.perform(state)["schedulable"] is False
    assert executor.perform(make_call("node.cordon", target=target(node)))["changed"] is False
    assert proved(executor, "node.uncordon", target=target(node))["changed"] is True
    assert executor.perform(state)["schedulable"] is True
    wrong = refusal(lambda: make_call("node.cordon", target={"kind": "Deployment", "namespace": "web", "name": "web"}))
    assert wrong.code == "wrong_kind"


def test_a_drain_waits_for_a_budget_and_names_it(
    real_cluster: RealCluster, executor: KubernetesExecutor, node: PlayedNode, namespace: str
) -> None:
    real_cluster.apply(on_node(workload("Deployment", namespace, "web", 2), node), budget(namespace, real_cluster, 2))
    until(lambda: len(running(node)) == 2, "both pods run")
    until(
        lambda: real_cluster.get("-n", namespace, "pdb", "keep").get("status", {}).get("currentHealthy") == 2,
        "the budget has counted them",
    )
    drain = make_call("node.drain", target=target(node), timeout_seconds=4)
    before = executor.before(drain)
    blocked = refusal(lambda: executor.perform(drain))
    assert (blocked.kind, blocked.code) == (FailureKind.PERMANENT, "drain_blocked")
    assert "disruption budget keep needs 2 healthy pods" in blocked.message
    assert "2 of 2 pods are still there" in blocked.message
    assert len(running(node)) == 2
    # It gets no new pods, and is not drained: draining goes on where it was.
    assert executor.perform(make_call("node.state", target=target(node)))["schedulable"] is False
    assert executor.happened(drain, before) is Happened.NO
    real_cluster.apply(budget(namespace, real_cluster, 0))
    until(
        lambda: real_cluster.get("-n", namespace, "pdb", "keep")["status"]["disruptionsAllowed"] == 2,
        "the budget allows it",
    )
    done = executor.perform(make_call("node.drain", target=target(node), timeout_seconds=60))
    assert (done["changed"], done["cordoned"], len(done["evicted"])) == (True, False, 2)
    assert executor.happened(drain, before) is Happened.YES
    # What took their place waits for a node that takes pods.
    pending = real_cluster.get("-n", namespace, "pods")["items"]
    assert {pod["status"]["phase"] for pod in pending} == {"Pending"}


def test_what_would_lose_something_is_not_moved_unless_allowed(
    real_cluster: RealCluster, executor: KubernetesExecutor, node: PlayedNode, namespace: str
) -> None:
    volume = {"volumes": [{"name": "scratch", "emptyDir": {}}]}
    bare = workload("Deployment", namespace, "bare")["spec"]["template"]
    alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": namespace}}
    real_cluster.apply(
        on_node(workload("Deployment", namespace, "web"), node, **volume),
        on_node(workload("DaemonSet", namespace, "each"), node),
        {**alone, "spec": {**bare["spec"], **node.spec}},
    )
    until(lambda: len(running(node)) == 3, "all pods run")
    refused = refusal(lambda: executor.perform(make_call("node.drain", target=target(node))))
    assert refused.code == "drain_refused"
    assert f"{namespace}/alone: nothing would make it again" in refused.message
    assert "its volume scratch would be lost" in refused.message
    assert executor.perform(make_call("node.state", target=target(node)))["schedulable"] is True
    done = proved(executor, "node.drain", target=target(node), local_data=True, unmanaged_pods=True)
    assert len(done["evicted"]) == 2
    assert done["cordoned"] is True
    (left,) = done["left"]
    assert "DaemonSet each runs one on each node" in left


@pytest.mark.parametrize("name", ["node.drain", "node.cordon"])
def test_uicis_own_node_is_left_alone(name: str, real_cluster: RealCluster, node: PlayedNode, namespace: str) -> None:
    real_cluster.apply(on_node(workload("Deployment", namespace, "web"), node))
    until(lambda: len(running(node)) == 1, "the pod runs")
    pod = running(node)[0]
    mine = new_executor(real_cluster, SelfIdentity(names=frozenset({pod}), pods=frozenset({f"{namespace}/{pod}"})))
    refused = refusal(lambda: mine.perform(make_call(name, target=target(node))))
    mine.close()
    assert refused.code == "self_target"
    assert len(running(node)) == 1
    assert "unschedulable" not in real_cluster.get("node", node.name)["spec"]
