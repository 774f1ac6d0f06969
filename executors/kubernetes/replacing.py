"""Deleting single pods, so that their controller makes new ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, cast

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.possible import refuse_kind
from executors.kubernetes.publishing import Published
from executors.kubernetes.rolling import gone_is_fine
from executors.kubernetes.rollouts import is_ready, troubles_of
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.upkeep_calls import PUBLISHED, REPLACE, Replace
from executors.kubernetes.workloads import Workloads, controller
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind, Happened

_STARTING = timedelta(seconds=30)
"""A pod may be unready for so long without being called unhealthy, unless it is stuck."""
_OVERDUE = timedelta(seconds=10)
"""A pod that is being deleted may outstay its grace so long: then it hangs."""
_POLL_SECONDS = 0.5


class Replacing:
    """The call that replaces pods. Implements `executors.kubernetes.parts.Part`."""

    published: ClassVar[Mapping[str, Published]] = {REPLACE: PUBLISHED[REPLACE]}

    def __init__(self, cluster: Cluster, workloads: Workloads, guard: SelfGuard) -> None:
        self._cluster = cluster
        self._workloads = workloads
        self._guard = guard

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Delete the pods, and wait until they have gone. Raises CallError."""
        replace = cast(Replace, arguments)
        refuse_kind(name, replace.target)
        self._guard.check_binding(replace.target)
        owner = self._workloads.required(replace.target, deadline)
        wanted = self._wanted(owner, replace, deadline)
        for pod in wanted:
            self._guard.check_object(pod)
            self._refuse_orphan(pod)
        kept: list[str] = []
        if replace.instance is None:
            kept = [f"{_name(pod)}: {_terminating(pod)}" for pod in wanted if not replace.force and _is_going(pod)]
            wanted = [pod for pod in wanted if replace.force or not _is_going(pod)]
        resource = self._cluster.resource("Pod")
        for pod in wanted:
            metadata = pod["metadata"]
            grace = 0 if replace.force and _is_going(pod) else None
            with gone_is_fine():
                self._cluster.delete(
                    resource, metadata["namespace"], metadata["name"], deadline, uid=metadata["uid"], grace=grace
                )
        if wanted:
            self._cluster.api.now_waits()
            self._await_gone(owner, wanted, deadline)
        return {"changed": bool(wanted), "instances": [_name(pod) for pod in wanted], "kept": kept}

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Which pods there are, and which of them would be replaced. Raises CallError where it would be refused."""
        replace = cast(Replace, arguments)
        refuse_kind(name, replace.target)
        owner = self._workloads.required(replace.target, deadline)
        return {"pods": {_name(pod): pod["metadata"]["uid"] for pod in self._wanted(owner, replace, deadline)}}

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """YES when all that were meant have gone or are going; NO when none is."""
        replace = cast(Replace, arguments)
        owner = self._workloads.required(replace.target, deadline)
        meant = set(before["pods"].values())
        pods = self._workloads.pods(owner, deadline)
        there = {pod["metadata"]["uid"] for pod in pods if replace.force or not _is_going(pod)}
        if not meant & there:
            return Happened.YES
        # Of a part nobody can tell whether the rest got well by itself.
        return Happened.NO if meant <= there else Happened.UNKNOWN

    def _wanted(self, owner: JsonObject, replace: Replace, deadline: Deadline) -> list[JsonObject]:
        pods = self._workloads.pods(owner, deadline)
        if replace.instance is None:
            return unhealthy(pods, datetime.now(UTC))
        found = [pod for pod in pods if _name(pod) == replace.instance]
        if not found:
            raise CallError(
                FailureKind.PERMANENT,
                "instance_not_found",
                f"{self._workloads.shown(replace.target)} has no pod {replace.instance!r}; it has "
                f"{', '.join(_name(pod) for pod in pods[:20]) or 'none'}",
            )
        if _is_going(found[0]) and not (replace.force and _hangs(found[0], datetime.now(UTC))):
            raise CallError(
                FailureKind.PERMANENT,
                "instance_terminating",
                f"pod {replace.instance!r} of {self._workloads.shown(replace.target)} is not deleted again: "
                f"{_terminating(found[0])}",
            )
        return found

    def _refuse_orphan(self, pod: JsonObject) -> None:
        owner = controller(pod)
        if owner is None or owner.get("kind") == "Node":
            raise CallError(
                FailureKind.PERMANENT,
                "no_controller",
                f"nothing would make pod {_name(pod)!r} again, so it is not deleted; replace it by hand",
            )

    def _await_gone(self, owner: JsonObject, wanted: Sequence[JsonObject], deadline: Deadline) -> None:
        meant = {pod["metadata"]["uid"]: pod for pod in wanted}
        while True:
            left = [pod for pod in self._workloads.pods(owner, deadline) if pod["metadata"]["uid"] in meant]
            if not left:
                return
            if deadline.left() < 2 * _POLL_SECONDS:
                shown = "; ".join(f"{_name(pod)}: {_terminating(pod)}" for pod in left)
                raise CallError(FailureKind.PERMANENT, "instance_terminating", f"deleted, but not gone yet: {shown}")
            time.sleep(_POLL_SECONDS)


def unhealthy(pods: Sequence[JsonObject], now: datetime) -> list[JsonObject]:
    """Pods that are stuck, have failed, or have been unready for longer than a start takes. Pure."""
    return [pod for pod in pods if _is_unhealthy(pod, now)]


def _is_unhealthy(pod: JsonObject, now: datetime) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    if _is_going(pod):
        return _hangs(pod, now)
    if phase == "Succeeded" or is_ready(pod):
        return False
    if phase == "Failed" or any(trouble.stuck for trouble in troubles_of([pod])):
        return True
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready: JsonObject = next((one for one in conditions if one.get("type") == "Ready"), {})
    since = _time(ready.get("lastTransitionTime") or pod["metadata"].get("creationTimestamp"))
    return since is not None and now - since > _STARTING


def _is_going(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _hangs(pod: Mapping[str, Any], now: datetime) -> bool:
    until = _time(pod["metadata"].get("deletionTimestamp"))
    return until is not None and now - until > _OVERDUE


def _terminating(pod: Mapping[str, Any]) -> str:
    metadata = pod["metadata"]
    finalizers = metadata.get("finalizers")
    why = f"; its finalizers keep it: {', '.join(finalizers)}" if finalizers else ""
    node = (pod.get("spec") or {}).get("nodeName")
    return (
        f"it is being deleted, and has until {metadata.get('deletionTimestamp')} to go{why}. When it hangs, look first "
        f"at its node {node!r}, which has not said that it ended. With `force` it then leaves the API at once, "
        "although its processes may still run and write"
    )


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
