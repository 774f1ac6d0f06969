"""How far a rollout is, and why its pods do not get ready: told from the objects' status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_STUCK_WAITING = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
"""Reasons of a waiting container that time alone seldom ends."""


@dataclass(frozen=True)
class Progress:
    """One look at a rollout."""

    done: bool
    detail: str
    failed: bool = False
    """The controller itself has given it up."""


def progress_of(workload: Mapping[str, Any]) -> Progress:
    """How far the rollout of the present template is, as `kubectl rollout status` judges it."""
    status, metadata = workload.get("status") or {}, workload["metadata"]
    if int(status.get("observedGeneration") or 0) < int(metadata.get("generation") or 0):
        return Progress(False, "its controller has not seen the change yet")
    return _OF_KIND[workload["kind"]](workload["spec"], status)


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            seconds = spec.get("progressDeadlineSeconds")
            return Progress(False, f"no progress within its progress deadline of {seconds} s", failed=True)
    wanted, updated = int(spec.get("replicas", 1)), int(status.get("updatedReplicas") or 0)
    total, available = int(status.get("replicas") or 0), int(status.get("availableReplicas") or 0)
    if updated < wanted:
        return Progress(False, f"{updated} of {wanted} pods are new")
    if total > updated:
        return Progress(False, f"{total - updated} old pods are still there")
    if available < updated:
        return Progress(False, f"{available} of {updated} new pods are available")
    return Progress(True, f"{updated} pods are new and available")


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    strategy = spec.get("updateStrategy") or {}
    wanted, ready = int(spec.get("replicas", 1)), int(status.get("readyReplicas") or 0)
    updated = int(status.get("updatedReplicas") or 0)
    if strategy.get("type") == "OnDelete":
        return Progress(True, "its update strategy is OnDelete: a pod becomes new when it is deleted")
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    if updated < wanted - partition:
        kept = f", {partition} are kept back by its partition" if partition else ""
        return Progress(False, f"{updated} of {wanted} pods are new{kept}")
    if ready < wanted:
        return Progress(False, f"{ready} of {wanted} pods are ready")
    if not partition and status.get("updateRevision") != status.get("currentRevision"):
        return Progress(False, "its controller has not ended the update yet")
    return Progress(True, f"{wanted} pods are new and ready")


def _daemon_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return Progress(True, "its update strategy is OnDelete: a pod becomes new when it is deleted")
    wanted = int(status.get("desiredNumberScheduled") or 0)
    updated, available = int(status.get("updatedNumberScheduled") or 0), int(status.get("numberAvailable") or 0)
    if updated < wanted:
        return Progress(False, f"{updated} of {wanted} pods are new")
    if available < wanted:
        return Progress(False, f"{available} of {wanted} new pods are available")
    return Progress(True, f"{wanted} pods are new and available")


_OF_KIND = {"Deployment": _deployment, "StatefulSet": _stateful_set, "DaemonSet": _daemon_set}


@dataclass(frozen=True)
class Trouble:
    """Why a pod is not ready."""

    pod: str
    reason: str
    detail: str
    stuck: bool
    """Whether waiting longer seldom helps."""

    def __str__(self) -> str:
        return f"pod {self.pod}: {self.reason}" + (f": {self.detail}" if self.detail else "")


def troubles_of(pods: Iterable[Mapping[str, Any]]) -> list[Trouble]:
    """Why these pods are not ready; pods that are, or that are going away, are left out."""
    found: list[Trouble] = []
    for pod in pods:
        if not pod["metadata"].get("deletionTimestamp") and not is_ready(pod):
            found += list(_troubles(pod)) or [Trouble(pod["metadata"]["name"], _phase(pod), "", False)]
    return found


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's condition `Ready` holds."""
    return _condition(pod, "Ready").get("status") == "True"


def _troubles(pod: Mapping[str, Any]) -> Iterator[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if status.get("reason"):
        yield Trouble(name, status["reason"], _short(status.get("message")), True)
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield Trouble(name, str(scheduled.get("reason") or "Unschedulable"), _short(scheduled.get("message")), False)
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        trouble = _of_container(name, one)
        if trouble is not None:
            yield trouble


def _of_container(pod: str, status: Mapping[str, Any]) -> Trouble | None:
    container, state = status.get("name"), status.get("state") or {}
    waiting, ended = state.get("waiting"), state.get("terminated")
    last = (status.get("lastState") or {}).get("terminated") or {}
    if waiting is not None:
        reason = str(waiting.get("reason") or "Waiting")
        ending = f"; it ended with {_ending(last)}" if last else ""
        said = _short(waiting.get("message"))
        return Trouble(pod, reason, f"container {container}: {said}{ending}", reason in _STUCK_WAITING)
    if ended is not None and int(ended.get("exitCode") or 0) != 0:
        reason = str(ended.get("reason") or "Error")
        return Trouble(pod, reason, f"container {container} ended with {_ending(ended)}", False)
    if ended is None and not status.get("ready") and "running" in state:
        restarts = int(status.get("restartCount") or 0)
        again = f", restarted {restarts} times, last ended with {_ending(last)}" if restarts else ""
        detail = f"container {container} runs, but its readiness probe does not pass{again}"
        return Trouble(pod, "NotReady", detail, False)
    return None


def _ending(terminated: Mapping[str, Any]) -> str:
    reason = terminated.get("reason")
    named = f" ({reason})" if reason not in (None, "Error", "Completed") else ""
    return f"exit code {terminated.get('exitCode')}{named}"


def _condition(pod: Mapping[str, Any], wanted: str) -> Mapping[str, Any]:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == wanted), {})


def _phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def _short(text: object) -> str:
    return " ".join(str(text or "").split())[:300]
