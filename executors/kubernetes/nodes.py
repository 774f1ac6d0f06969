"""Nodes: keep new pods away from one, move its pods elsewhere, and let it have pods again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, cast

from executors.deadline import Deadline
from executors.kubernetes.changing import change
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.node_calls import PUBLISHED, STATE, UNCORDON, Drain
from executors.kubernetes.possible import refuse_kind
from executors.kubernetes.publishing import OnTarget, Published
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.workloads import controller
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind, Happened

_MIRROR = "kubernetes.io/config.mirror"
_RETRY_SECONDS = 2.0
_ENDED = ("Succeeded", "Failed")


class Fate(StrEnum):
    """What a drain does with a pod."""

    EVICT = "evict"
    LEAVE = "leave"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Allowed:
    """What a drain may do to pods that would lose something."""

    local_data: bool = False
    unmanaged: bool = False


@dataclass(frozen=True)
class Verdict:
    """A pod's fate, and why."""

    fate: Fate
    why: str = ""


def fate_of(pod: Mapping[str, Any], allowed: Allowed) -> Verdict:
    """What a drain does with this pod. Pure."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    if _MIRROR in (metadata.get("annotations") or {}):
        return Verdict(Fate.LEAVE, "it is the kubelet's own (a static pod)")
    owner = controller(dict(pod))
    if owner is not None and owner.get("kind") == "DaemonSet":
        return Verdict(Fate.LEAVE, f"DaemonSet {owner.get('name')} runs one on each node")
    if (pod.get("status") or {}).get("phase") in _ENDED:
        return Verdict(Fate.EVICT)
    if owner is None and not allowed.unmanaged:
        return Verdict(Fate.REFUSE, "nothing would make it again (allow it with unmanaged_pods)")
    volumes = [one["name"] for one in spec.get("volumes") or () if "emptyDir" in one]
    if volumes and not allowed.local_data:
        return Verdict(
            Fate.REFUSE, f"what is in its volume {', '.join(volumes)} would be lost (allow it with local_data)"
        )
    return Verdict(Fate.EVICT)


class Nodes:
    """The calls on a node. Implements `executors.kubernetes.parts.Part`.

    Who keeps a node's labels and taints in Git is not asked: only `spec.unschedulable` is changed, which nodes get from
    people and controllers, and which an owner leaves alone unless Git holds that very field.
    """

    published: ClassVar[Mapping[str, Published]] = PUBLISHED

    def __init__(self, cluster: Cluster, guard: SelfGuard) -> None:
        self._cluster = cluster
        self._guard = guard

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Look at the node, or change whether it gets pods. Raises CallError."""
        binding = cast(OnTarget, arguments).target
        refuse_kind(name, binding)
        if name == STATE:
            return self.state(binding.name, deadline)
        self._guard.check_binding(binding)
        if isinstance(arguments, Drain):
            return self._drain(binding.name, arguments, deadline)
        return self._schedulable(binding.name, deadline, wanted=name == UNCORDON)

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Whether the node gets pods now. Raises CallError."""
        binding = cast(OnTarget, arguments).target
        refuse_kind(name, binding)
        node = self._node(binding.name, deadline)
        return {"uid": node["metadata"]["uid"], "schedulable": not node["spec"].get("unschedulable", False)}

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """YES when the node is as wanted; else NO, since what is set again does no harm, and a drain goes on."""
        binding = cast(OnTarget, arguments).target
        node = self._node(binding.name, deadline)
        if node["metadata"]["uid"] != before.get("uid"):
            return Happened.UNKNOWN
        schedulable = not node["spec"].get("unschedulable", False)
        fits = schedulable is (name == UNCORDON)
        if isinstance(arguments, Drain) and fits:
            fates = (fate_of(pod, _allowed(arguments)).fate for pod in self._pods(binding.name, deadline))
            fits = all(fate is Fate.LEAVE for fate in fates)
        return Happened.YES if fits else Happened.NO

    def state(self, name: str, deadline: Deadline) -> JsonObject:
        """Whether the node is ready and gets pods, what is wrong with it, and what runs on it."""
        node = self._node(name, deadline)
        conditions = {one["type"]: one for one in (node.get("status") or {}).get("conditions") or ()}
        ready = conditions.get("Ready") or {}
        bad = [
            {"condition": kind, "reason": str(one.get("reason") or ""), "detail": str(one.get("message") or "")[:300]}
            for kind, one in conditions.items()
            if one.get("status") != ("True" if kind == "Ready" else "False")
        ]
        return {
            "ready": ready.get("status") == "True",
            "schedulable": not node["spec"].get("unschedulable", False),
            "problems": bad,
            "taints": [_taint(one) for one in node["spec"].get("taints") or ()],
            "pods": sum(1 for _ in self._pods(name, deadline)),
            "version": ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion"),
        }

    def _schedulable(self, name: str, deadline: Deadline, *, wanted: bool) -> JsonObject:
        """Let the node get new pods, or none."""

        def set_to(node: JsonObject) -> JsonObject:
            self._guard.check_object(node)
            spec = {key: value for key, value in node["spec"].items() if key != "unschedulable"}
            return {**node, "spec": spec if wanted else {**spec, "unschedulable": True}}

        done = change(self._cluster, self._cluster.resource("Node"), None, name, set_to, deadline)
        return {"changed": done.changed, "schedulable": wanted}

    def _drain(self, name: str, drain: Drain, deadline: Deadline) -> JsonObject:
        """Keep new pods away, and evict those that are there, as far as PodDisruptionBudgets let them go.

        Nothing is changed when there is a pod that may not be evicted. Raises CallError(PERMANENT): `drain_refused`
        naming such pods, `drain_blocked` naming what did not go in time, and why.
        """
        self._guard.check_object(self._node(name, deadline))
        pods = list(self._pods(name, deadline))
        fates = [(pod, fate_of(pod, _allowed(drain))) for pod in pods]
        refused = [f"{_name(pod)}: {verdict.why}" for pod, verdict in fates if verdict.fate is Fate.REFUSE]
        if refused:
            raise CallError(
                FailureKind.PERMANENT,
                "drain_refused",
                f"node {name!r} is not drained, nothing was changed; {len(refused)} of its pods may not be moved: "
                + "; ".join(refused[:10]),
            )
        cordoned = bool(self._schedulable(name, deadline, wanted=False)["changed"])
        going = {_name(pod): pod for pod, verdict in fates if verdict.fate is Fate.EVICT}
        left = [f"{_name(pod)}: {verdict.why}" for pod, verdict in fates if verdict.fate is Fate.LEAVE]
        evicted = self._evicted(name, going, Deadline(drain.timeout_seconds), deadline)
        return {"changed": cordoned or bool(evicted), "cordoned": cordoned, "evicted": evicted, "left": left}

    def _node(self, name: str, deadline: Deadline) -> JsonObject:
        return self._cluster.get(self._cluster.resource("Node"), None, name, deadline)

    def _pods(self, node: str, deadline: Deadline) -> Iterable[JsonObject]:
        resource = self._cluster.resource("Pod")
        return self._cluster.list(resource, None, fields=f"spec.nodeName={node}", deadline=deadline)

    def _evicted(self, node: str, waiting: dict[str, JsonObject], until: Deadline, deadline: Deadline) -> list[str]:
        evicted, why = sorted(waiting), dict.fromkeys(waiting, "it was going away before, and has not ended yet")
        unasked = {name for name, pod in waiting.items() if not pod["metadata"].get("deletionTimestamp")}
        while True:
            for name in sorted(unasked & waiting.keys()):
                refusal = self._evict(waiting[name], deadline)
                why[name] = refusal or "it was evicted, and has not ended yet"
                if refusal is None:
                    unasked.remove(name)
            self._cluster.api.now_waits()
            present = {_name(pod): pod["metadata"]["uid"] for pod in self._pods(node, deadline)}
            waiting = {name: pod for name, pod in waiting.items() if present.get(name) == pod["metadata"]["uid"]}
            if not waiting:
                return evicted
            if min(until.left(), deadline.left()) < _RETRY_SECONDS:
                raise CallError(
                    FailureKind.PERMANENT,
                    "drain_blocked",
                    f"node {node!r} could not be drained in time; it gets no new pods, and {len(waiting)} of "
                    f"{len(evicted)} pods are still there: "
                    + "; ".join(f"{name}: {why[name]}" for name in sorted(waiting)[:10]),
                    detail={"pods": sorted(waiting)},
                )
            time.sleep(_RETRY_SECONDS)

    def _evict(self, pod: JsonObject, deadline: Deadline) -> str | None:
        """Ask for one eviction; why it was refused for now, None when it was granted or the pod has gone."""
        metadata = pod["metadata"]
        body = {
            "apiVersion": self._eviction_version(deadline),
            "kind": "Eviction",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "deleteOptions": {"preconditions": {"uid": metadata["uid"]}},
        }
        resource = self._cluster.resource("Pod")
        try:
            self._cluster.subresource(resource, metadata["namespace"], metadata["name"], "eviction", body, deadline)
        except CallError as error:
            if error.code in ("object_not_found", "conflict"):
                return None  # it has gone; the list shows it
            if error.code == "disruption_budget":
                return "; ".join((error.detail or {}).get("causes") or ()) or error.message
            if error.code == "kubernetes_busy":
                return error.message
            raise
        return None

    def _eviction_version(self, deadline: Deadline) -> str:
        """The newest that the server takes; the resource itself says it."""
        listed = self._cluster.api.get(("api", "v1"), deadline=deadline).json()
        served = next(one for one in listed["resources"] if one["name"] == "pods/eviction")
        return f"{served['group']}/{served['version']}"


def _allowed(drain: Drain) -> Allowed:
    return Allowed(drain.local_data, drain.unmanaged_pods)


def _name(pod: Mapping[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _taint(taint: Mapping[str, Any]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"
