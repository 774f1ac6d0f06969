"""Workloads of the test service on a real cluster, and calls on them as a run makes them."""

from __future__ import annotations

from typing import Any

from executors.kubernetes import KubernetesExecutor
from tests.calls import call_of
from tests.real.kubernetes import REPOSITORY, RealCluster
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call, Happened
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

NOBODY = SelfIdentity()


def new_executor(cluster: RealCluster, identity: SelfIdentity = NOBODY) -> KubernetesExecutor:
    """An executor on the real cluster, as bootstrap would make it; the caller closes it."""
    context = ExecutorContext(
        environment="test", settings=cluster.connection, identity=identity, layers=SelfGuardLayers()
    )
    return KubernetesExecutor(context)


def make_call(name: str, /, **arguments: object) -> Call:
    """A call as the translation makes it."""
    return call_of(KubernetesExecutor, name, arguments)


def proved(executor: KubernetesExecutor, name: str, **arguments: object) -> JsonObject:
    """The call's result; the state before it does not show it, and the state after it does."""
    call = make_call(name, **arguments)
    before = executor.before(call)
    assert executor.happened(call, before) is not Happened.YES, f"{name} is shown before it was sent"
    result = executor.perform(call)
    assert executor.happened(call, before) is Happened.YES
    return result


def workload(kind: str, namespace: str, name: str, replicas: int = 1, **container: Any) -> JsonObject:
    """A workload of the test service, ready when it answers /health; `container` is more of its container."""
    labels = {"app": name}
    probe = {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2}
    web: JsonObject = {
        "name": "web",
        "image": f"{REPOSITORY}:good",
        "imagePullPolicy": "Never",
        "readinessProbe": probe,
        **container,
    }
    spec: JsonObject = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [web]},
        },
    }
    if kind != "DaemonSet":
        spec["replicas"] = replicas
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def binding(kind: str, namespace: str, name: str, **more: object) -> JsonObject:
    """The target's binding."""
    return {"kind": kind, "namespace": namespace, "name": name, **more}


def oldest_node(cluster: RealCluster) -> str:
    """The cluster's own node; other tests may add some that come and go."""
    nodes = cluster.get("nodes")["items"]
    return str(min(nodes, key=lambda node: str(node["metadata"]["creationTimestamp"]))["metadata"]["name"])


def crd(cluster: RealCluster, group: str, version: str, kind: str) -> None:
    """The kind of somebody else's controller, with any content."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
                "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
    )
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=90s")
    until(lambda: plural in cluster.kubectl("api-resources", "-o", "name", check=False), "the new kind")
