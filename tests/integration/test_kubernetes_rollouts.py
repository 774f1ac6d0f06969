"""Changes of a pod template on a real cluster: rollouts that end, that never do, and what others do meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executors.deadline import Deadline
from executors.kubernetes import KubernetesExecutor
from executors.kubernetes.changing import change
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesSettings
from tests.integration.kubernetes_ground import binding, make_call, new_executor, proved, workload
from tests.real.kubernetes import RealCluster
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened


@pytest.fixture
def executor(real_cluster: RealCluster) -> Iterator[KubernetesExecutor]:
    made = new_executor(real_cluster)
    yield made
    made.close()


def refusal(action: Callable[[], object]) -> CallError:
    with pytest.raises(CallError) as caught:
        action()
    return caught.value


def container(cluster: RealCluster, kind: str, namespace: str) -> Any:
    return cluster.get("-n", namespace, kind, "web")["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_version_that_never_gets_ready_is_told_with_its_reason_and_can_be_taken_back(
    kind: str, real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    target = binding(kind, namespace, "web")
    real_cluster.apply(workload(kind, namespace, "web"))
    assert proved(executor, "workload.configure", target=target, environment={"COLOUR": "red"})["changed"] is True
    good = container(real_cluster, kind, namespace)
    call = make_call("workload.deploy", target=target, version="absent", stuck_seconds=1)
    before = executor.before(call)
    failed = refusal(lambda: executor.perform(call))
    assert (failed.kind, failed.code) == (FailureKind.PERMANENT, "rollout_failed")
    assert "ErrImageNeverPull" in failed.message
    assert f"namespace {namespace!r}" in failed.message
    assert executor.happened(call, before) is Happened.YES
    result = proved(executor, "workload.rollback", target=target)
    assert result["version"] == "good"
    assert container(real_cluster, kind, namespace) == good
    if kind != "Deployment":
        return
    # Whoever goes back once more gets what was there: the version that failed, not an older one.
    again = refusal(lambda: executor.perform(make_call("workload.rollback", target=target, stuck_seconds=1)))
    assert again.code == "rollout_failed"


def test_a_version_whose_probe_does_not_pass_in_time_is_told(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    target = binding("Deployment", namespace, "web")
    real_cluster.apply(workload("Deployment", namespace, "web"))
    executor.perform(make_call("workload.configure", target=target, environment={"COLOUR": "red"}))
    late = make_call("workload.deploy", target=target, version="bad", rollout_timeout_seconds=6)
    failed = refusal(lambda: executor.perform(late))
    assert failed.code == "rollout_unfinished"
    assert "readiness probe does not pass" in failed.message
    # The controller's own deadline is believed, too.
    real_cluster.kubectl(
        "-n", namespace, "patch", "deployment", "web", "-p", '{"spec": {"progressDeadlineSeconds": 2}}'
    )
    failed = refusal(lambda: executor.perform(make_call("workload.deploy", target=target, version="bad")))
    assert failed.code == "rollout_failed"
    assert "progress deadline of 2 s" in failed.message


def test_limits_are_changed_with_their_requests_and_come_back(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    target = binding("Deployment", namespace, "web")
    resources = {"limits": {"cpu": "0.5", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}
    real_cluster.apply(workload("Deployment", namespace, "web", resources=resources))
    before = container(real_cluster, "deployment", namespace)
    low = proved(executor, "workload.update", target=target, cpus=0.05, memory_bytes=48 * 1024 * 1024)
    assert low["resources"] == {
        "requests.cpu": {"before": "100m", "now": "50m"},
        "requests.memory": {"before": "64Mi", "now": "48Mi"},
        "limits.cpu": {"before": "500m", "now": "50m"},
        "limits.memory": {"before": "64Mi", "now": "48Mi"},
    }
    # Another configuration in between does not make UICI forget what it pushed down.
    executor.perform(make_call("workload.configure", target=target, environment={"COLOUR": "red"}))
    executor.perform(make_call("workload.configure", target=target, remove=["COLOUR"]))
    back = executor.perform(make_call("workload.update", target=target, cpus=0.5, memory_bytes=64 * 1024 * 1024))
    assert back["cpus"] == 0.5
    assert container(real_cluster, "deployment", namespace) == before


def test_a_secret_variable_stays_and_is_told_to_nobody(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    canary = "canary-5ec2e7"
    target = binding("Deployment", namespace, "web")
    reference = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": namespace}}
    real_cluster.apply(
        {**secret, "stringData": {"password": canary}},
        workload("Deployment", namespace, "web", env=[reference, {"name": "COLOUR", "value": "blue"}]),
    )
    call = make_call("workload.configure", target=target, environment={"PASSWORD": "mine"})
    refused = refusal(lambda: executor.before(call))
    assert refused.code == "env_from_reference"
    assert refusal(lambda: executor.perform(call)).code == "env_from_reference"
    change_it = make_call("workload.configure", target=target, environment={"COLOUR": "red"}, remove=["ABSENT"])
    shown = [executor.before(change_it), executor.perform(change_it)]
    assert canary not in json.dumps(shown)
    assert container(real_cluster, "deployment", namespace)["env"] == [reference, {"name": "COLOUR", "value": "red"}]


@pytest.mark.parametrize(
    ("patch", "code", "says"),
    [
        ({"spec": {"paused": True}}, "rollout_paused", "kubectl rollout resume"),
        (
            {"metadata": {"labels": {"argocd.argoproj.io/instance": "shop"}}},
            "gitops_owned",
            "Argo CD (Application shop)",
        ),
        (
            {"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}},
            "gitops_owned",
            "gitops: override",
        ),
    ],
)
def test_what_somebody_else_decides_about_is_left_alone(
    patch: JsonObject, code: str, says: str, real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    target = binding("Deployment", namespace, "web")
    real_cluster.apply(workload("Deployment", namespace, "web"))
    real_cluster.kubectl("-n", namespace, "patch", "deployment", "web", "-p", json.dumps(patch))
    before = container(real_cluster, "deployment", namespace)
    call = make_call("workload.configure", target=target, environment={"COLOUR": "red"})
    for action in (executor.before, executor.perform):
        refused = refusal(lambda action=action: action(call))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert (refused.kind, refused.code) == (FailureKind.PERMANENT, code)
        assert says in refused.message
    assert container(real_cluster, "deployment", namespace) == before
    if code == "gitops_owned":
        overriding = {**target, "gitops": "override"}
        assert proved(executor, "workload.configure", target=overriding, environment={"COLOUR": "red"})["changed"]


def test_what_cannot_be_rolled_out_says_so(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    real_cluster.apply(workload("Deployment", namespace, "web"))
    first = refusal(
        lambda: executor.perform(make_call("workload.rollback", target=binding("Deployment", namespace, "web")))
    )
    assert first.code == "no_previous_version"
    assert "deploy the wanted version" in first.message
    node = {"kind": "Node", "name": "node1"}
    refused = refusal(lambda: make_call("workload.configure", target=node, environment={"A": "1"}))
    assert refused.code == "wrong_kind"
    other = binding("Deployment", namespace, "web", container="absent")
    missing = refusal(lambda: executor.perform(make_call("workload.deploy", target=other, version="good")))
    assert missing.code == "no_such_container"


def test_who_changes_it_meanwhile_is_named_and_not_overwritten(real_cluster: RealCluster, namespace: str) -> None:
    real_cluster.apply(workload("Deployment", namespace, "web"))
    cluster = Cluster(KubernetesSettings.model_validate(real_cluster.connection), "test")

    def after_somebody_else(found: JsonObject) -> JsonObject:
        real_cluster.kubectl("-n", namespace, "patch", "deployment", "web", "-p", '{"spec": {"replicas": 3}}')
        return {**found, "spec": {**found["spec"], "replicas": 2}}

    def after_a_status(found: JsonObject) -> JsonObject:
        condition = {"type": "Test", "status": "True", "reason": str(len(asked)), "message": "written meanwhile"}
        asked.append(found)
        if len(asked) < 3:
            cluster.patch(
                resource, namespace, "web", {"status": {"conditions": [condition]}}, Deadline(15), subresource="status"
            )
        return {**found, "spec": {**found["spec"], "replicas": 2}}

    def by_a_controller() -> None:
        patch = json.dumps({"metadata": {"annotations": {"controlled": str(len(asked))}}})
        own = "--field-manager=kube-controller-manager"
        real_cluster.kubectl("-n", namespace, "patch", "deployment", "web", own, "-p", patch)

    def after_a_controller(found: JsonObject) -> JsonObject:
        asked.append(found)
        if len(asked) < 3:
            by_a_controller()
        return {**found, "spec": {**found["spec"], "replicas": 1}}

    resource, asked = cluster.resource("Deployment"), list[JsonObject]()
    error = refusal(lambda: change(cluster, resource, namespace, "web", after_somebody_else, Deadline(15)))
    assert (error.kind, error.code) == (FailureKind.TEMPORARY, "conflict")
    assert "by kubectl-patch between" in error.message
    assert real_cluster.get("-n", namespace, "deployment", "web")["spec"]["replicas"] == 3
    # Only its status was written: that is nobody's decision, and the change goes through.
    done = change(cluster, resource, namespace, "web", after_a_status, Deadline(15))
    assert done.after["spec"]["replicas"] == 2
    assert len(asked) >= 3
    # So does one of a controller, also to what was its own before.
    by_a_controller()
    asked.clear()
    assert change(cluster, resource, namespace, "web", after_a_controller, Deadline(30)).after["spec"]["replicas"] == 1
    assert len(asked) >= 3
    cluster.close()
