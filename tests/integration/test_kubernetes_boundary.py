"""At the boundary of a real API server: pages whose state it has forgotten, how often it is asked, and what usage it
tells once a metrics API is registered with it.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executors.deadline import Deadline
from executors.kubernetes import KubernetesExecutor
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesSettings
from tests.integration.kubernetes_ground import NOBODY, binding, make_call, new_executor, workload
from tests.real.https import Answer, Asked, Https, Relay, https
from tests.real.kubernetes import RealCluster
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.ports import ExecutorContext

READS = [{"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["get", "list"]}]


@pytest.fixture
def relay(real_cluster: RealCluster) -> Iterator[Relay]:
    made = Relay(real_cluster.server())
    yield made
    made.close()


@pytest.fixture
def connection(real_cluster: RealCluster, namespace: str, relay: Relay, tmp_path: Path) -> Iterator[JsonObject]:
    """Of an account that may only look, through the relay."""
    account = real_cluster.account(namespace, READS, [])
    with https(tmp_path, relay) as server:
        yield {**account, "server": f"https://127.0.0.1:{server.port}", "ca_file": server.ca_file}


def _forgotten(path: str) -> str:
    """The same path, with a token of the server's own to go on with, as of a state that it has compacted."""
    found = re.search(r"continue=([\w%-]+)", path)
    if found is None:
        return path
    token = found[1].replace("%3D", "")
    meant = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    if meant["rv"] == -1:  # the server's own way out of it
        return path
    old = base64.urlsafe_b64encode(json.dumps(meant | {"rv": 1}).encode()).decode().rstrip("=")
    return path.replace(found[1], old)


def test_pages_of_a_state_that_the_server_has_forgotten_are_gone_on_with(
    real_cluster: RealCluster, namespace: str, relay: Relay, connection: JsonObject
) -> None:
    names = [f"number-{at}" for at in range(7)]
    real_cluster.apply(
        *({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": n, "namespace": namespace}} for n in names)
    )
    cluster = Cluster(KubernetesSettings.model_validate(connection), "test")
    resource = cluster.resource("ConfigMap")
    pages = cluster.list(resource, namespace, page=3, deadline=Deadline(60))
    first = next(pages)["metadata"]["name"]
    relay.altered = _forgotten
    found = [first, *(one["metadata"]["name"] for one in pages)]
    cluster.close()
    refused = [one for one in relay.asked if "continue=" in one.path and _forgotten(one.path) != one.path]
    again = [one for one in relay.asked if "continue=" in one.path and _forgotten(one.path) == one.path]
    if refused and not again:
        pytest.skip("the API server has compacted nothing yet, which it does every five minutes: ask it again later")
    assert len(refused) >= 1
    assert set(names) <= set(found)
    assert len(found) == len(set(found)), "each of them is told once"


def _looked(connection: JsonObject, target: JsonObject) -> JsonObject:
    context = ExecutorContext(environment="test", settings=connection, identity=NOBODY)
    executor = KubernetesExecutor(context)
    try:
        return executor.perform(make_call("workload.describe", target=target))
    finally:
        executor.close()


def test_no_more_is_asked_at_once_than_the_connection_allows(
    real_cluster: RealCluster, namespace: str, relay: Relay, connection: JsonObject
) -> None:
    real_cluster.apply(workload("Deployment", namespace, "web"))
    real_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=90s")
    target = binding("Deployment", namespace, "web")
    plain = _looked(connection, target)
    needed = len(relay.asked)
    assert needed > 3, "this proves something only of a call that asks more than once"
    # The next request's turn would come after a quarter of an hour, and so after every deadline.
    for burst in (1, 3, needed - 1):
        relay.asked.clear()
        with pytest.raises(CallError) as caught:
            _looked({**connection, "requests_per_second": 0.001, "burst": burst}, target)
        assert len(relay.asked) == burst
        assert (caught.value.kind, caught.value.code) == (FailureKind.TEMPORARY, "deadline_exceeded")
        assert "nothing was sent" in caught.value.message
    relay.asked.clear()
    assert _looked({**connection, "requests_per_second": 0.001, "burst": needed}, target).keys() == plain.keys()
    assert len(relay.asked) == needed


class MetricsServer:
    """What metrics-server answers, in its own shapes; of the pods in `known` alone."""

    def __init__(self) -> None:
        self.known: dict[str, JsonObject] = {}
        """Usage of the container `web`, by namespace/name."""

    def __call__(self, asked: Asked) -> Answer:
        path = asked.path.partition("?")[0].strip("/").split("/")
        if path == ["apis", "metrics.k8s.io", "v1beta1"]:
            kinds = (("nodes", False, "NodeMetrics"), ("pods", True, "PodMetrics"))
            listed = [
                {"name": name, "singularName": "", "namespaced": inside, "kind": kind, "verbs": ["get", "list"]}
                for name, inside, kind in kinds
            ]
            return _json(
                200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _GROUP, "resources": listed}
            )
        if path[3:4] == ["namespaces"] and path[5:6] == ["pods"] and len(path) == 7:
            name = f"{path[4]}/{path[6]}"
            if name in self.known:
                containers = [{"name": "web", "usage": self.known[name]}]
                metadata = {"name": path[6], "namespace": path[4], "creationTimestamp": _NOW}
                body = {"kind": "PodMetrics", "apiVersion": _GROUP, "metadata": metadata, "timestamp": _NOW}
                return _json(200, {**body, "window": "30s", "containers": containers})
            missing = f'podmetrics.metrics.k8s.io "{name}" not found'
            return _json(404, {**_STATUS, "message": missing, "reason": "NotFound", "code": 404})
        return _json(404, {**_STATUS, "message": "the server could not find the requested resource", "code": 404})


_GROUP = "metrics.k8s.io/v1beta1"
_NOW = "2026-01-01T00:00:00Z"
_STATUS: JsonObject = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}


def _json(status: int, body: JsonObject) -> Answer:
    return status, json.dumps(body).encode()


@contextmanager
def registered(cluster: RealCluster, namespace: str, server: Https) -> Iterator[None]:
    """While inside, the API server asks this one for metrics.k8s.io."""
    name = f"metrics-{secrets.token_hex(3)}"
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                # As metrics-server's own manifests have it.
                "insecureSkipTLSVerify": True,
                "service": {"name": name, "namespace": namespace, "port": server.port},
            },
        },
    )
    try:
        until(lambda: "PodMetrics" in cluster.kubectl("get", "--raw", f"/apis/{_GROUP}", check=False), "it is served")
        yield
    finally:
        cluster.kubectl("delete", "apiservice", "v1beta1.metrics.k8s.io")


def test_usage_as_a_registered_metrics_api_tells_it(real_cluster: RealCluster, namespace: str, tmp_path: Path) -> None:
    if real_cluster.kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "--ignore-not-found"):
        pytest.skip("the cluster has a metrics API of its own, whose figures nobody knows beforehand")
    limits = {"limits": {"memory": "64Mi"}}
    real_cluster.apply(workload("Deployment", namespace, "web", 2, resources=limits))
    real_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=90s")
    pods = [pod["metadata"]["name"] for pod in real_cluster.get("-n", namespace, "pods")["items"]]
    metrics = MetricsServer()
    usage = make_call("workload.usage", target=binding("Deployment", namespace, "web"))
    with https(tmp_path, metrics) as server, registered(real_cluster, namespace, server):
        executor = new_executor(real_cluster)
        metrics.known = {f"{namespace}/{pod}": {"cpu": "250000000n", "memory": "16384Ki"} for pod in pods}
        assert executor.perform(usage) == {
            "cpu_percent": 50.0,
            "memory_bytes": 32 * 2**20,
            "memory_limit_bytes": 128 * 2**20,
            "memory_percent": 25.0,
            "processes": None,
        }
        # Of a pod that it has not scraped yet the kubelets are asked.
        del metrics.known[f"{namespace}/{pods[0]}"]
        told = executor.perform(usage)
        executor.close()
    assert 0 < told["memory_bytes"] < 32 * 2**20
