"""From an alert's labels to the workload, the pod or the node that is really broken, by asking the cluster.

Labels that name a workload come first: `pod` beside them is often the exporter's own. A pod is followed to its owner,
because that is what can be healed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.workloads import controller
from uici.model.base import JsonObject
from uici.model.call import CallError

_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
_WORKLOADS = (
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("cronjob", "CronJob"),
    ("job_name", "Job"),
    ("replicaset", "ReplicaSet"),
    ("horizontalpodautoscaler", "HorizontalPodAutoscaler"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("persistentvolumeclaim", "PersistentVolumeClaim"),
)
"""Label -> the kind that it names, the surest first."""
_KINDS_OF_RULES = {kind.lower(): kind for _, kind in _WORKLOADS}
_BOUND = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "Node")
_MESSENGERS = frozenset({"kube-state-metrics", "node-exporter", "kubelet", "cadvisor", "blackbox-exporter"})
"""Jobs whose own pods are never what their alerts are about."""
_MOST_OWNERS = 5
_SECONDS = 20.0


def find(cluster: Cluster, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
    """Bindings of what the labels name, each once; empty when there is nothing. Raises CallError."""
    deadline = Deadline(_SECONDS)
    for kind, namespace, name in _named(labels):
        found = _get(cluster, kind, namespace, name, deadline)
        if found is None:
            continue
        bindings = [_binding(top, labels) for top in _tops(cluster, found, deadline)]
        unique = [one for number, one in enumerate(bindings) if one not in bindings[:number]]
        if unique:
            return tuple(unique)
    return ()


def _named(labels: Mapping[str, str]) -> Iterator[tuple[str, str | None, str]]:
    """(kind, namespace, name) that the labels may mean; what stands under `exported_` is the victim's own."""
    # Where the exporter's labels won, its namespace and pod stand under the plain names.
    renamed = "exported_namespace" in labels or "exported_pod" in labels
    namespace = labels.get("exported_namespace") or labels.get("namespace") or ""

    def said(label: str) -> str:
        return labels.get(f"exported_{label}") or labels.get(label, "")

    if _NAME.match(namespace):
        for label, kind in _WORKLOADS:
            if _NAME.match(said(label)):
                yield kind, namespace, said(label)
        kind = _KINDS_OF_RULES.get(labels.get("workload_type", "").lower(), "")
        if kind and _NAME.match(labels.get("workload", "")):
            yield kind, namespace, labels["workload"]
        pod = labels.get("exported_pod") or ("" if renamed else labels.get("pod", ""))
        messenger = labels.get("job", "")
        if _NAME.match(pod) and not (messenger in _MESSENGERS and messenger in pod):
            yield "Pod", namespace, pod
    node = said("node")
    if _NAME.match(node):
        yield "Node", None, node


def _tops(cluster: Cluster, found: JsonObject, deadline: Deadline) -> Iterator[JsonObject]:
    """What the thing belongs to and can be bound."""
    kind, metadata = found["kind"], found["metadata"]
    if kind == "HorizontalPodAutoscaler":
        scaled = found["spec"].get("scaleTargetRef") or {}
        target = _get(cluster, str(scaled.get("kind")), metadata["namespace"], str(scaled.get("name")), deadline)
        yield from () if target is None else _tops(cluster, target, deadline)
    elif kind == "PersistentVolumeClaim":
        for pod in cluster.list(cluster.resource("Pod"), metadata["namespace"], deadline=deadline):
            if any(
                (one.get("persistentVolumeClaim") or {}).get("claimName") == metadata["name"]
                for one in pod["spec"].get("volumes") or ()
            ):
                yield from _tops(cluster, pod, deadline)
    else:
        top = _top(cluster, found, deadline)
        if top["kind"] in _BOUND:
            yield top


def _top(cluster: Cluster, found: JsonObject, deadline: Deadline) -> JsonObject:
    """The highest owner of a kind that can be bound: above a Deployment may stand what a target is not bound to."""
    best = thing = found
    for _ in range(_MOST_OWNERS):
        reference = controller(thing)
        if reference is None:
            break
        above = _get(cluster, str(reference["kind"]), thing["metadata"]["namespace"], str(reference["name"]), deadline)
        # Another of the same name is not its owner.
        if above is None or above["metadata"]["uid"] != reference["uid"]:
            break
        thing = above
        if thing["kind"] in _BOUND:
            best = thing
    return best


def _get(cluster: Cluster, kind: str, namespace: str | None, name: str, deadline: Deadline) -> JsonObject | None:
    try:
        found = cluster.find(cluster.resource(kind), namespace, name, deadline)
    except CallError as error:
        # What owns a workload may be of a kind that only its operator knows, or that UICI may not read.
        if error.code in ("kind_not_served", "ambiguous_kind") or (error.code == "forbidden" and kind not in _BOUND):
            return None
        raise
    return None if found is None else {**found, "kind": kind}


def _binding(thing: JsonObject, labels: Mapping[str, str]) -> JsonObject:
    metadata = thing["metadata"]
    if thing["kind"] == "Node":
        return {"kind": "Node", "name": metadata["name"]}
    binding: JsonObject = {"kind": thing["kind"], "name": metadata["name"], "namespace": metadata["namespace"]}
    spec = thing["spec"]
    if thing["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    pods = spec if thing["kind"] == "Pod" else spec["template"]["spec"]
    container = labels.get("exported_container") or labels.get("container")
    if container in [one["name"] for one in pods["containers"]]:
        binding["container"] = container
    return binding
