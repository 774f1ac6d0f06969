"""What the executor sees of workloads in a real cluster, well and in trouble, and the findings made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.real.kubernetes import REPOSITORY, RealCluster, deployment
from tests.waiting import until
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.diagnosis.findings import find
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind
from uici.model.identity import SelfIdentity
from uici.model.incident import Observation
from uici.ports import ExecutorContext

SITE = load_site(None, executors=discover_executors())
CANARY = "canary-c0ffee"


class Hand:
    """An executor in one namespace, and its calls by their short names."""

    def __init__(self, cluster: RealCluster, namespace: str, connection: JsonObject | None = None) -> None:
        self.cluster = cluster
        self.namespace = namespace
        settings = {**(connection or cluster.connection), "namespace": namespace, "limits": {"diagnostic_seconds": 2.0}}
        context = ExecutorContext(environment="test", settings=settings, identity=SelfIdentity())
        self.executor = KubernetesExecutor(context)

    def do(self, name: str, target: JsonObject, **arguments: Any) -> JsonObject:
        full = f"workload.{name}"
        place = {} if target.get("kind") == "Node" else {"kind": "Deployment", "namespace": self.namespace}
        target = {**place, **target}
        spec = self.executor.call_specs[full]
        call = Call(
            id="c1",
            name=full,
            arguments={"target": target, **arguments},
            mutates=spec.mutates,
            risk=spec.risk,
            timeout_seconds=spec.timeout_seconds,
            in_flight_seconds=spec.in_flight_seconds,
            provable=spec.provable,
        )
        return self.executor.perform(call)

    def found(self, target: JsonObject) -> set[str]:
        """The findings that the shipped rules make of the status."""
        looked = Observation(operation="get_service_status", parameters={}, result=self.do("status", target))
        return {finding.name for finding in find([looked], SITE.findings)}

    def until(self, target: JsonObject, condition: Callable[[JsonObject], bool], what: str) -> JsonObject:
        """The status when it is as wanted."""

        def as_wanted() -> JsonObject | None:
            seen = self.do("status", target)
            return seen if condition(seen) else None

        return until(as_wanted, what, lambda: json.dumps(self.do("status", target), indent=1))

    def runs(self, target: JsonObject) -> JsonObject:
        return self.until(target, lambda status: status["state"] == "running", "it runs")


@pytest.fixture
def hand(real_cluster: RealCluster, namespace: str) -> Iterator[Hand]:
    made = Hand(real_cluster, namespace)
    yield made
    made.executor.close()


WEB: JsonObject = {"name": "web"}


def workload(kind: str, namespace: str, name: str = "web", **spec: Any) -> JsonObject:
    made = deployment(namespace, name, **spec)
    made["kind"] = kind
    if kind == "StatefulSet":
        made["spec"]["serviceName"] = name
    if kind == "DaemonSet":
        del made["spec"]["replicas"]
    return made


def with_container(namespace: str, replicas: int = 1, **changes: Any) -> JsonObject:
    made = deployment(namespace, "web")
    made["spec"]["replicas"] = replicas
    made["spec"]["template"]["spec"]["containers"][0].update(changes)
    return made


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_workload_that_runs(hand: Hand, kind: str) -> None:
    hand.cluster.apply(workload(kind, hand.namespace))
    target = {"kind": kind, "name": "web"}
    status = hand.runs(target)
    pod = hand.cluster.get("-n", hand.namespace, "pods")["items"][0]
    assert [(one["id"], one["name"]) for one in status["instances"]] == [
        (pod["metadata"]["uid"], pod["metadata"]["name"])
    ]
    assert (status["desired"], status["running"], status["version"], status["health"]) == (1, 1, "good", "none")
    assert (status["reasons"], status["problems"], status["restart_count"]) == ([], [], 0)
    health = hand.do("health", target)
    assert health["healthy"], health
    logs = hand.do("logs", target, lines=5)
    assert "ready" in logs["lines"]
    described = hand.do("describe", target)
    assert described["configuration"]["image"] == f"{REPOSITORY}:good"
    assert (described["previous_version"], described["deployed_at"]) == (None, None)


def test_usage_comes_from_the_kubelet_where_there_is_no_metrics_api(hand: Hand) -> None:
    hand.cluster.apply(with_container(hand.namespace, resources={"limits": {"memory": "64Mi", "cpu": "500m"}}))
    hand.runs(WEB)
    usage = hand.do("usage", WEB)
    assert usage["memory_limit_bytes"] == 64 * 1024 * 1024
    assert 0 < usage["memory_bytes"] < usage["memory_limit_bytes"]
    assert 0 < usage["memory_percent"] < 100
    assert usage["processes"] is None or usage["processes"] >= 2
    described = hand.do("describe", WEB)["configuration"]
    assert (described["cpus"], described["memory_bytes"]) == (0.5, 64 * 1024 * 1024)


def test_usage_that_may_not_be_seen_says_what_would_help(hand: Hand) -> None:
    hand.cluster.apply(deployment(hand.namespace, "web"))
    hand.runs(WEB)
    read = [{"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["get", "list"]}]
    limited = Hand(hand.cluster, hand.namespace, hand.cluster.account(hand.namespace, read, []))
    with pytest.raises(CallError) as caught:
        limited.do("usage", WEB)
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "usage_not_available")
    assert "resources: [nodes/proxy], verbs: [get]" in caught.value.message
    assert "metrics-server" in caught.value.message
    limited.executor.close()


def test_an_image_that_is_not_there(hand: Hand) -> None:
    hand.cluster.apply(with_container(hand.namespace, image=f"{REPOSITORY}:no-such"))
    status = hand.until(WEB, lambda one: "image_pull_failed" in one["reasons"], "the image is missed")
    assert (status["state"], status["exit_code"], status["running"]) == ("failed", None, 0)
    assert any(f"{REPOSITORY}:no-such" in one for one in status["problems"])
    assert {"image_pull_failed", "start_failed"} <= hand.found(WEB)
    health = hand.do("health", WEB)
    assert not health["healthy"]
    assert any("image_pull_failed" in one["detail"] for one in health["checks"])


def test_a_program_that_ends_again_and_again(hand: Hand) -> None:
    script = "echo it begins; echo cannot read config >&2; exit 3"
    hand.cluster.apply(with_container(hand.namespace, command=["sh", "-c", script]))
    status = hand.until(WEB, lambda one: one["state"] == "restarting", "it crash-loops")
    assert {"crash_looping", "exited_with_error"} <= set(status["reasons"])
    assert (status["exit_code"], status["oom_killed"]) == (3, False)
    assert status["restart_count"] >= 1
    assert {"crash_looping", "exited_with_error"} <= hand.found(WEB)
    logs = hand.do("logs", WEB)["lines"]
    assert any("cannot read config" in line for line in logs)
    assert any(line.startswith("(before the last restart)") for line in logs)


def test_memory_that_runs_out(hand: Hand) -> None:
    grow = ["sh", "-c", "sleep 1; x=0123456789; while :; do x=$x$x; done"]
    hand.cluster.apply(with_container(hand.namespace, command=grow, resources={"limits": {"memory": "16Mi"}}))
    status = hand.until(WEB, lambda one: one["oom_killed"], "the kernel kills it")
    assert "oom_killed" in status["reasons"]
    assert "oom_killed" in hand.found(WEB)


def test_a_configuration_that_is_missing(hand: Hand) -> None:
    missing = {"configMapKeyRef": {"name": "no-such-map", "key": "level"}}
    hand.cluster.apply(with_container(hand.namespace, env=[{"name": "LEVEL", "valueFrom": missing}]))
    status = hand.until(WEB, lambda one: "container_not_created" in one["reasons"], "the configuration is missed")
    assert status["state"] == "failed"
    assert any("no-such-map" in one for one in status["problems"])
    described = hand.do("describe", WEB)["configuration"]["environment"]
    assert described == {"LEVEL": "(from configMapKey no-such-map/level)"}


def test_a_probe_that_fails(hand: Hand) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    hand.cluster.apply(with_container(hand.namespace, readinessProbe=probe))
    status = hand.until(WEB, lambda one: "readiness_failing" in one["reasons"], "the probe fails")
    assert (status["state"], status["health"]) == ("running", "unhealthy")
    assert not hand.do("health", WEB)["healthy"]
    assert "probe_failing" in hand.found(WEB)
    hand.cluster.apply(workload("StatefulSet", hand.namespace, "alive"))
    probe = {"livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}}
    made = workload("StatefulSet", hand.namespace, "alive")
    made["spec"]["template"]["spec"]["containers"][0].update(probe)
    hand.cluster.apply(made)
    alive = {"kind": "StatefulSet", "name": "alive"}
    hand.until(alive, lambda one: "liveness_failing" in one["reasons"], "the kubelet restarts it")


def test_what_no_node_has_room_for(hand: Hand) -> None:
    hand.cluster.apply(with_container(hand.namespace, resources={"requests": {"cpu": "9999"}}))
    status = hand.until(WEB, lambda one: "unschedulable" in one["reasons"], "the scheduler gives up")
    assert (status["state"], status["running"]) == ("failed", 0)
    assert "unschedulable" in hand.found(WEB)
    assert any("Insufficient cpu" in one for one in status["problems"])


def test_a_volume_that_is_not_bound(hand: Hand) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": hand.namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    hand.cluster.apply(claim, deployment(hand.namespace, "web", volumes=[volume]))
    hand.until(WEB, lambda one: "volume_unbound" in one["reasons"], "the claim stays unbound")


def test_a_quota_that_is_used_up(hand: Hand) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": hand.namespace},
        "spec": {"hard": {"pods": "1"}},
    }
    hand.cluster.apply(quota, with_container(hand.namespace, replicas=2))
    status = hand.until(
        WEB, lambda one: "quota_exceeded" in one["reasons"] and one["running"] == 1, "the second pod is refused"
    )
    assert (status["state"], status["desired"]) == ("starting", 2)
    assert any("exceeded quota: few" in one for one in status["problems"])


def test_a_pod_that_was_evicted(hand: Hand) -> None:
    made = deployment(hand.namespace, "web")
    hand.cluster.apply(made)
    hand.runs(WEB)
    owner = hand.cluster.get("-n", hand.namespace, "replicasets")["items"][0]
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}
    reference |= {name: owner["metadata"][name] for name in ("name", "uid")}
    # No kubelet has this one, so that what one writes when its node runs short of something can be written here.
    spec = {**made["spec"]["template"]["spec"], "schedulerName": "nobody"}
    # With the labels of its controller it would be adopted at once, and removed as one too many.
    metadata = {"name": "gone", "namespace": hand.namespace, "labels": {"app": "gone"}}
    labels = {"app": "web", "pod-template-hash": owner["metadata"]["labels"]["pod-template-hash"]}
    evicted = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    hand.cluster.apply(pod)
    path = f"/api/v1/namespaces/{hand.namespace}/pods/gone"
    found = json.loads(hand.cluster.kubectl("get", "--raw", path))
    hand.cluster.kubectl(
        "replace", "--raw", f"{path}/status", "-f", "-", stdin=json.dumps({**found, "status": evicted})
    )
    alone = hand.do("status", {"kind": "Pod", "name": "gone"})
    assert (alone["state"], alone["reasons"]) == ("failed", ["evicted"])
    assert "evicted" in hand.found({"kind": "Pod", "name": "gone"})
    hand.cluster.kubectl(
        "-n",
        hand.namespace,
        "patch",
        "pod",
        "gone",
        "-p",
        json.dumps({"metadata": {"ownerReferences": [reference], "labels": labels}}),
    )
    # Its controller has another, and the evicted one is history.
    status = hand.do("status", WEB)
    assert (status["state"], status["running"], [one["name"] == "gone" for one in status["instances"]]) == (
        "running",
        1,
        [False],
    )


def test_jobs_and_schedules(hand: Hand) -> None:
    spec = {"restartPolicy": "Never", "containers": [{"name": "it", "image": f"{REPOSITORY}:good"}]}

    def job(name: str, code: int) -> JsonObject:
        container = {**spec["containers"][0], "imagePullPolicy": "Never", "command": ["sh", "-c", f"exit {code}"]}  # type: ignore[dict-item]  # a dict
        return {"backoffLimit": 0, "template": {"spec": {**spec, "containers": [container]}}}

    for name, code in (("good", 0), ("bad", 4)):
        metadata = {"name": name, "namespace": hand.namespace}
        hand.cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job(name, code)})
    good, bad = {"kind": "Job", "name": "good"}, {"kind": "Job", "name": "bad"}
    status = hand.until(good, lambda one: one["state"] == "exited", "the Job is done")
    assert (status["exit_code"], status["reasons"]) == (0, [])
    assert hand.do("health", good)["healthy"]
    status = hand.until(bad, lambda one: one["state"] == "failed", "the Job has failed")
    assert status["exit_code"] == 4
    assert "job_failed" in status["reasons"]
    metadata = {"name": "nightly", "namespace": hand.namespace}
    version = next(one for one in ("batch/v1", "batch/v1beta1") if one in hand.cluster.kubectl("api-versions").split())
    body = {"schedule": "0 3 * * *", "jobTemplate": {"spec": job("nightly", 0)}}
    try:
        hand.cluster.apply({"apiVersion": version, "kind": "CronJob", "metadata": metadata, "spec": body})
    except AssertionError:
        hand.cluster.apply({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": metadata, "spec": body})
    nightly = {"kind": "CronJob", "name": "nightly"}
    assert hand.do("status", nightly)["state"] == "running"
    assert hand.do("describe", nightly)["configuration"]["version"] == "good"
    hand.cluster.kubectl("-n", hand.namespace, "patch", "cronjob", "nightly", "-p", '{"spec":{"suspend":true}}')
    assert hand.do("status", nightly)["state"] == "stopped"


def test_a_node(hand: Hand) -> None:
    name = hand.cluster.get("nodes")["items"][0]["metadata"]["name"]
    node = {"kind": "Node", "name": name}
    status = hand.do("status", node)
    assert (status["state"], status["running"]) == ("running", 1)
    assert hand.do("health", node)["healthy"]
    assert hand.do("describe", node)["configuration"]["version"].startswith("v1.")
    missing = {"kind": "Node", "name": "no-such-node"}
    assert hand.do("status", missing)["state"] == "missing"


def test_what_runs_in_a_namespace(hand: Hand) -> None:
    hand.cluster.apply(deployment(hand.namespace, "web"), workload("StatefulSet", hand.namespace, "data"))
    hand.cluster.apply(with_container(hand.namespace) | {"metadata": {"name": "off", "namespace": hand.namespace}})
    hand.cluster.kubectl("-n", hand.namespace, "scale", "deployment", "off", "--replicas=0")
    hand.runs(WEB)
    hand.runs({"kind": "StatefulSet", "name": "data"})
    listed = hand.do("list", WEB)
    assert [(one["name"], one["state"]) for one in listed["services"]] == [
        ("Deployment/off", "stopped"),
        ("Deployment/web", "running"),
        ("StatefulSet/data", "running"),
    ]
    assert (listed["total"], listed["running"], listed["truncated"]) == (3, 2, False)
    assert hand.do("list", WEB, limit=1)["truncated"]


def test_a_snapshot_hides_secrets(hand: Hand) -> None:
    made = with_container(hand.namespace, env=[{"name": "API_PASSWORD", "value": CANARY}])
    made["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", "echo $API_PASSWORD; exec sleep 1000"]
    hand.cluster.apply(made)
    hand.runs(WEB)
    hand.do("logs", WEB)
    snapshot = hand.do("snapshot", WEB)
    assert CANARY not in json.dumps(snapshot)
    assert "diagnostics" in snapshot["processes"]["error"]
    assert snapshot["details"][0]["node"]
    assert [line for line in snapshot["logs"]["lines"] if "***" in line]
