"""Starting, stopping, restarting and scaling, finding what an alert means, and never touching UICI itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.integration.kubernetes_ground import make_call, new_executor, proved, workload
from tests.real.kubernetes import RealCluster, deployment
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened
from uici.model.identity import SelfIdentity


@pytest.fixture
def executor(real_cluster: RealCluster) -> Iterator[KubernetesExecutor]:
    made = new_executor(real_cluster)
    yield made
    made.close()


def bound(kind: str, namespace: str, name: str = "web") -> JsonObject:
    return {"kind": kind, "name": name, "namespace": namespace}


def status(executor: KubernetesExecutor, target: JsonObject) -> JsonObject:
    return executor.perform(make_call("workload.status", target=target))


def runs(executor: KubernetesExecutor, target: JsonObject) -> list[str]:
    until(lambda: status(executor, target)["state"] == "running", "it runs")
    return [one["id"] for one in status(executor, target)["instances"]]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_restart_replaces_every_pod(
    executor: KubernetesExecutor, real_cluster: RealCluster, namespace: str, kind: str
) -> None:
    real_cluster.apply(workload(kind, namespace, "web", replicas=2))
    target = bound(kind, namespace)
    former = runs(executor, target)
    result = proved(executor, "workload.restart", target=target)
    assert set(result["instances"]).isdisjoint(former)
    assert len(result["instances"]) == len(former)
    assert status(executor, target)["state"] == "running"


def test_a_stop_remembers_how_many_there_were(
    executor: KubernetesExecutor, real_cluster: RealCluster, namespace: str
) -> None:
    real_cluster.apply(workload("Deployment", namespace, "web", replicas=2))
    target = bound("Deployment", namespace)
    runs(executor, target)
    assert proved(executor, "workload.stop", target=target) == {"changed": True, "instances": []}
    assert status(executor, target)["state"] == "stopped"
    assert len(proved(executor, "workload.start", target=target)["instances"]) == 2
    annotations = real_cluster.get("-n", namespace, "deployment", "web")["metadata"]["annotations"]
    assert not [name for name in annotations if name.startswith("uici.io/")]


def test_a_restart_of_another_object_of_that_name_proves_nothing(
    executor: KubernetesExecutor, real_cluster: RealCluster, namespace: str
) -> None:
    real_cluster.apply(deployment(namespace, "web"))
    call = make_call("workload.restart", target=bound("Deployment", namespace))
    before = json.loads(json.dumps(executor.before(call)))
    assert executor.happened(call, before) is Happened.NO
    real_cluster.kubectl("-n", namespace, "delete", "deployment", "web")
    real_cluster.apply(deployment(namespace, "web"))
    assert executor.happened(call, before) is Happened.UNKNOWN


def test_a_number_that_an_autoscaler_would_take_back_is_refused(
    executor: KubernetesExecutor, real_cluster: RealCluster, namespace: str
) -> None:
    scaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "minReplicas": 1,
            "maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    }
    real_cluster.apply(deployment(namespace, "web"), scaler)
    target = bound("Deployment", namespace)
    with pytest.raises(CallError, match="between 1 and 2") as caught:
        executor.perform(make_call("workload.scale", target=target, replicas=3))
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "autoscaler_bounds")
    assert executor.perform(make_call("workload.scale", target=target, replicas=2))["replicas"] == 2


def test_an_alert_leads_to_what_owns_the_pod(
    executor: KubernetesExecutor, real_cluster: RealCluster, namespace: str
) -> None:
    job = deployment(namespace, "x")["spec"]["template"]["spec"] | {"restartPolicy": "Never"}
    job["containers"][0]["command"] = ["sleep", "1000"]
    schedule: JsonObject = {
        "apiVersion": "batch/v1beta1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": job}}}},
    }
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    real_cluster.apply(*(workload(kind, namespace, kind.lower()) for kind in kinds), schedule)
    owner = real_cluster.get("-n", namespace, "cronjob", "nightly")
    reference = {"apiVersion": owner["apiVersion"], "kind": "CronJob", "controller": True}
    reference |= {name: owner["metadata"][name] for name in ("name", "uid")}
    metadata = {"name": "nightly-1", "namespace": namespace, "ownerReferences": [reference]}
    real_cluster.apply(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": schedule["spec"]["jobTemplate"]["spec"]}
    )
    until(lambda: len(real_cluster.get("-n", namespace, "pods")["items"]) == 4, "all pods are made")
    pods = {
        one["metadata"]["labels"].get("app", "nightly"): one
        for one in real_cluster.get("-n", namespace, "pods")["items"]
    }
    for kind in kinds:
        found = executor.find({"namespace": namespace, "pod": pods[kind.lower()]["metadata"]["name"]})
        assert found == (bound(kind, namespace, kind.lower()),)
        assert executor.find({"namespace": namespace, kind.lower(): kind.lower()}) == found
    nightly = (bound("CronJob", namespace, "nightly"),)
    assert executor.find({"namespace": namespace, "pod": pods["nightly"]["metadata"]["name"]}) == nightly
    assert executor.find({"namespace": namespace, "job_name": "nightly-1"}) == nightly
    web = bound("Deployment", namespace, "deployment")
    with_container = {"namespace": namespace, "deployment": "deployment", "container": "web"}
    assert executor.find(with_container) == ({**web, "container": "web"},)
    assert executor.find({**with_container, "container": "kube-state-metrics"}) == (web,)
    # The messenger's own place and pod stand under the plain names, the victim's under exported_.
    other = pods["statefulset"]["metadata"]["name"]
    renamed = {"exported_namespace": namespace, "exported_pod": pods["deployment"]["metadata"]["name"]}
    assert executor.find({**renamed, "namespace": "default", "pod": other}) == (web,)
    assert executor.find({"exported_namespace": namespace, "namespace": namespace, "pod": other}) == ()
    assert executor.find({"namespace": namespace, "deployment": "deployment", "pod": other}) == (web,)
    node = real_cluster.get("nodes")["items"][0]["metadata"]["name"]
    assert executor.find({"node": node}) == ({"kind": "Node", "name": node},)
    assert executor.find({"namespace": namespace, "pod": "no-such-pod"}) == ()
    assert executor.find({"pod": other}) == ()


def test_uici_and_what_contains_it_are_left_alone(real_cluster: RealCluster, namespace: str) -> None:
    real_cluster.apply(deployment(namespace, "uici"), deployment(namespace, "beside"))
    until(lambda: len(real_cluster.get("-n", namespace, "pods")["items"]) == 2, "both are there")
    pods = real_cluster.get("-n", namespace, "pods")["items"]
    own = next(one for one in pods if one["metadata"]["labels"]["app"] == "uici")
    identity = SelfIdentity(
        pods=frozenset({f"{namespace}/{own['metadata']['name']}"}),
        names=frozenset({namespace}),
        containing=frozenset({namespace}),
    )
    guarded = new_executor(real_cluster, identity)
    try:
        for name, arguments in (("restart", {}), ("stop", {}), ("scale", {"replicas": 2})):
            call = make_call(f"workload.{name}", target=bound("Deployment", namespace, "uici"), **arguments)
            with pytest.raises(CallError) as caught:
                guarded.perform(call)
            assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "self_target")
        # What stands beside it, in the namespace of its own name, may be healed.
        beside = make_call("workload.restart", target=bound("Deployment", namespace, "beside"))
        assert guarded.perform(beside)["changed"]
    finally:
        guarded.close()


def test_two_changes_at_once_are_told_apart(
    executor: KubernetesExecutor, real_cluster: RealCluster, namespace: str
) -> None:
    real_cluster.apply(deployment(namespace, "web"))
    target = bound("Deployment", namespace)
    runs(executor, target)
    outcomes: list[str] = []

    def restart() -> None:
        try:
            outcomes.append(str(executor.perform(make_call("workload.restart", target=target))["changed"]))
        except CallError as error:
            outcomes.append(f"{error.kind} {error.code}")

    threads = [threading.Thread(target=restart) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "True" in outcomes
    assert set(outcomes) <= {"True", "temporary conflict"}
