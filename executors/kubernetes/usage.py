"""What pods use now: from the metrics API where the cluster has it, else from the kubelets through the API server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.quantities import cores, whole_bytes
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_METRICS = "metrics.k8s.io"
_MAX_NODES = 20
_FRESH_SECONDS = 25.0
"""A kubelet knows a container's usage only some time after its start."""


@dataclass(frozen=True)
class _Sample:
    cores: float
    memory: int
    processes: int | None


def usage_of(
    cluster: Cluster, pods: Sequence[JsonObject], deadline: Deadline, patience_seconds: float = _FRESH_SECONDS
) -> JsonObject:
    """What the pods that run use together; of what has just been started that is known after a while only.

    Raises CallError(PERMANENT, `usage_not_available`) when neither the metrics API nor the kubelets may be asked,
    TEMPORARY when they know nothing of these pods yet.
    """
    running = [pod for pod in pods if _runs(pod)]
    samples = _by_metrics(cluster, running, deadline)
    if samples is None:
        samples = _by_kubelets(cluster, running, Deadline(min(patience_seconds, deadline.left())), deadline)
    memory, limit = sum(one.memory for one in samples), _limit(running)
    counted = [one.processes for one in samples if one.processes is not None]
    return {
        "cpu_percent": round(100 * sum(one.cores for one in samples), 2),
        "memory_bytes": memory,
        "memory_limit_bytes": limit,
        "memory_percent": round(100 * memory / limit, 2) if limit else None,
        "processes": sum(counted) if len(counted) == len(samples) else None,
    }


def _runs(pod: JsonObject) -> bool:
    """A pod that waits to start its container again has the phase of one that runs, and nobody knows its usage."""
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    return any((one.get("state") or {}).get("running") is not None for one in containers)


def _limit(pods: Iterable[JsonObject]) -> int | None:
    """All containers' limits of memory together; None when one has none."""
    total = 0
    for pod in pods:
        for container in pod["spec"]["containers"]:
            limit = whole_bytes(((container.get("resources") or {}).get("limits") or {}).get("memory"))
            if limit is None:
                return None
            total += limit
    return total or None


def _by_metrics(cluster: Cluster, pods: Sequence[JsonObject], deadline: Deadline) -> list[_Sample] | None:
    """None when the cluster has no metrics API, or it knows nothing of these pods."""
    if not cluster.discovery.has("PodMetrics", _METRICS):
        return None
    resource = cluster.resource("PodMetrics", _METRICS)
    found = []
    for pod in pods:
        try:
            said = cluster.find(resource, pod["metadata"]["namespace"], pod["metadata"]["name"], deadline)
        except CallError as error:
            if error.code in ("forbidden", "kubernetes_error"):
                return None
            raise
        if said is None:
            return None
        used = [one.get("usage") or {} for one in said.get("containers") or ()]
        found.append(
            _Sample(
                sum(cores(one.get("cpu")) or 0.0 for one in used),
                sum(whole_bytes(one.get("memory")) or 0 for one in used),
                None,
            )
        )
    return found


def _by_kubelets(cluster: Cluster, pods: Sequence[JsonObject], patience: Deadline, deadline: Deadline) -> list[_Sample]:
    wanted = {pod["metadata"]["uid"] for pod in pods}
    nodes = sorted({pod["spec"]["nodeName"] for pod in pods})
    if len(nodes) > _MAX_NODES:
        raise CallError(
            FailureKind.PERMANENT,
            "usage_not_available",
            f"{cluster.where} has no metrics API, and the pods run on {len(nodes)} nodes, more than are asked each "
            f"({_MAX_NODES}); install metrics-server",
        )
    while True:
        found: dict[str, _Sample] = {}
        for node in nodes:
            found |= _of_node(cluster, node, deadline)
        mine = {uid: sample for uid, sample in found.items() if uid in wanted}
        if len(mine) == len(wanted):
            return list(mine.values())
        if patience.left() == 0:
            raise CallError(
                FailureKind.TEMPORARY,
                "usage_not_known_yet",
                f"the kubelets behind {cluster.where} know nothing of {len(wanted) - len(mine)} of {len(wanted)} pods "
                "yet, which have just been started; ask again in half a minute",
            )
        time.sleep(1.0)


def _of_node(cluster: Cluster, node: str, deadline: Deadline) -> dict[str, _Sample]:
    path = (*cluster.resource("Node").path(None, node), "proxy", "stats", "summary")
    try:
        summary = cluster.api.get(path, deadline=deadline).json()
    except CallError as error:
        if error.code != "forbidden":
            raise
        raise CallError(
            FailureKind.PERMANENT,
            "usage_not_available",
            f"{cluster.where} has no metrics API that UICI may use, and {error.message}; install metrics-server, or "
            "grant that",
        ) from None
    found = {}
    for pod in summary.get("pods") or ():
        sample = _of_pod(pod)
        if sample is not None:
            found[str(pod["podRef"]["uid"])] = sample
    return found


def _of_pod(pod: Mapping[str, Any]) -> _Sample | None:
    containers = pod.get("containers") or ()
    memory: list[Any] = [(one.get("memory") or {}).get("workingSetBytes") for one in containers]
    used: list[Any] = [(one.get("cpu") or {}).get("usageNanoCores") for one in containers]
    if not containers or None in memory or None in used:
        return None
    # Many runtimes leave it at 0, which no pod that runs can have.
    processes = (pod.get("process_stats") or {}).get("process_count") or None
    return _Sample(sum(used) / 1e9, sum(memory), processes)
