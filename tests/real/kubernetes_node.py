"""A node of a real cluster whose kubelet is played by the test, so that a drain moves nobody else's pods.

The API server, the scheduler, the controllers and the disruption budgets are real; what is played is only that pods on
this node run, are ready, and end when they are told to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesSettings
from tests.real.kubernetes import RealCluster
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError

_TAINT = "uici-test"
_BEAT_SECONDS = 5.0
"""Seldom, as a kubelet's: who writes the node as often as others read it lets none of their changes through."""
_TIDY = "node.alpha.kubernetes.io/ttl"
"""The annotation that a controller gives each new node."""
_ROOM = {"cpu": "8", "memory": "8Gi", "pods": "50"}


class PlayedNode:
    """One node; pods that carry `spec` go there, and nobody else's."""

    def __init__(self, cluster: RealCluster, name: str) -> None:
        self.name = name
        self.spec: JsonObject = {
            "nodeSelector": {_TAINT: name},
            "tolerations": [{"key": _TAINT, "operator": "Exists"}],
        }
        self._client = Cluster(KubernetesSettings.model_validate(cluster.connection), "played")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self) -> None:
        """Make the node, ready for pods."""
        spec = {"taints": [{"key": _TAINT, "value": self.name, "effect": "NoSchedule"}]}
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {_TAINT: self.name}},
            "spec": spec,
            "status": _status(),
        }
        self._client.create(self._client.resource("Node"), None, body, Deadline(15))
        self._thread.start()

    def close(self) -> None:
        """Take the node away, with all that is on it."""
        self._over.set()
        self._thread.join(timeout=30)
        with suppress(CallError):
            self._client.delete(self._client.resource("Node"), None, self.name, Deadline(15))
        for pod in self.pods():
            self._end(pod)
        self._client.close()

    def pods(self) -> list[JsonObject]:
        """What is on it."""
        fields = f"spec.nodeName={self.name}"
        return list(self._client.list(self._client.resource("Pod"), None, fields=fields, deadline=Deadline(15)))

    def _play(self) -> None:
        beat = float("-inf")
        while not self._over.is_set():
            with suppress(CallError):
                if time.monotonic() - beat > _BEAT_SECONDS:
                    self._beat()
                    beat = time.monotonic()
                for pod in self.pods():
                    if pod["metadata"].get("deletionTimestamp"):
                        self._end(pod)
                    elif pod["status"].get("phase") != "Running":
                        self._run(pod)
            self._over.wait(0.3)

    def _beat(self) -> None:
        body = {"status": _status()}
        self._client.patch(self._client.resource("Node"), None, self.name, body, Deadline(5), subresource="status")

    def _run(self, pod: JsonObject) -> None:
        now = _now()
        conditions = [{"type": name, "status": "True", "lastTransitionTime": now} for name in ("Ready", "PodScheduled")]
        body = {"status": {"phase": "Running", "startTime": now, "conditions": conditions}}
        metadata = pod["metadata"]
        resource = self._client.resource("Pod")
        self._client.patch(resource, metadata["namespace"], metadata["name"], body, Deadline(5), subresource="status")

    def _end(self, pod: JsonObject) -> None:
        metadata = pod["metadata"]
        with suppress(CallError):
            self._client.delete(
                self._client.resource("Pod"), metadata["namespace"], metadata["name"], Deadline(5),
                uid=metadata["uid"], grace=0,
            )  # fmt: skip


@contextmanager
def played_node(cluster: RealCluster, name: str) -> Iterator[PlayedNode]:
    """While inside, the node is there and ready."""
    node = PlayedNode(cluster, name)
    node.start()
    try:
        until(lambda: _left_alone(cluster.get("node", name)), "the node is ready, and its controllers are done with it")
        yield node
    finally:
        node.close()


def _left_alone(node: JsonObject) -> bool:
    own = [taint["key"] for taint in node["spec"].get("taints") or ()] == [_TAINT]
    return own and _TIDY in node["metadata"].get("annotations", {})


def _status() -> JsonObject:
    ready = {"type": "Ready", "status": "True", "reason": "Played", "lastHeartbeatTime": _now()}
    return {"capacity": _ROOM, "allocatable": _ROOM, "conditions": [ready]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
