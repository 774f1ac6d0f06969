"""What a pod is doing and what is wrong with it, told from its own status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uici.model.base import JsonObject

WORST_FIRST = ("failed", "exited", "restarting", "stopped", "paused", "starting", "running")
_HEALTH_WORST_FIRST = ("unhealthy", "starting", "healthy")
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CALM_REASONS = frozenset({"", "ContainerCreating", "PodInitializing"})
_MAX_DETAIL = 500


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, by a name that findings use."""

    reason: str
    instance: str
    """The pod's or another object's name."""
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.instance}: {self.detail}"


@dataclass(frozen=True)
class Facts:
    """One pod."""

    uid: str
    name: str
    state: str
    exit_code: int | None
    started_at: str | None
    oom_killed: bool
    restart_count: int
    health: str
    """Of its readiness probes; `none` without any."""
    images: tuple[str, ...]
    node: str | None
    going: bool
    """It is being deleted."""
    finished: bool
    """It has ended for good: its phase is Succeeded or Failed."""
    problems: tuple[Problem, ...] = field(repr=False)

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> Facts:
        """Parse a Pod."""
        metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
        containers = list(_containers(pod))
        finished = status.get("phase") in ("Succeeded", "Failed")
        state, exit_code = _state(status, containers)
        started = [one["state"]["running"]["startedAt"] for one in containers if "running" in one["state"]]
        return cls(
            uid=metadata["uid"],
            name=metadata["name"],
            state=state,
            exit_code=exit_code,
            started_at=max(started, default=None) or status.get("startTime"),
            oom_killed=any(_oom(one) for one in containers),
            restart_count=sum(int(one.get("restartCount") or 0) for one in containers),
            health=_health(spec, status, state),
            images=tuple(str(one["image"]) for one in spec["containers"]),
            node=spec.get("nodeName"),
            going=bool(metadata.get("deletionTimestamp")),
            finished=finished,
            problems=tuple(_problems(pod, containers)),
        )

    def instance(self) -> JsonObject:
        """One entry of a status' `instances`. A process' number is not told by the API."""
        return {
            "id": self.uid,
            "name": self.name,
            "state": self.state,
            "exit_code": self.exit_code,
            "started_at": self.started_at,
            "pid": None,
        }


def worst(states: Iterable[str]) -> str | None:
    """The worst of some states."""
    return min(states, key=WORST_FIRST.index, default=None)


def worst_health(members: Sequence[Facts]) -> str:
    """Of all pods together."""
    healths = {one.health for one in members}
    return next((word for word in _HEALTH_WORST_FIRST if word in healths), "none")


def _containers(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Statuses of what decides about the pod: the init container that runs or fails, else its containers."""
    status = pod.get("status") or {}
    stays = status.get("phase") in ("Succeeded", "Failed") or pod["metadata"].get("deletionTimestamp")
    policy = "Never" if stays else pod["spec"].get("restartPolicy", "Always")
    for one in status.get("initContainerStatuses") or ():
        ended = (one.get("state") or {}).get("terminated")
        if not (one.get("ready") or (ended and ended.get("exitCode") == 0)):
            yield {**one, "state": one.get("state") or {}, "policy": policy, "init": True}
            return
    for one in status.get("containerStatuses") or ():
        yield {**one, "state": one.get("state") or {}, "policy": policy}


def _state(status: Mapping[str, Any], containers: Sequence[Mapping[str, Any]]) -> tuple[str, int | None]:
    if status.get("reason") in ("Evicted", "NodeLost", "UnexpectedAdmissionError", "Preempting"):
        return "failed", None
    if not containers:
        if status.get("phase") == "Failed":
            return "failed", None
        return ("failed" if _unschedulable(status) else "starting"), None
    found = [_of_container(one) for one in containers]
    return min(found, key=lambda one: (WORST_FIRST.index(one[0]), -(one[1] or 0)))


def _of_container(status: Mapping[str, Any]) -> tuple[str, int | None]:
    state = status["state"]
    if "running" in state:
        return ("starting" if status.get("init") else "running"), None
    if "terminated" in state:
        return ("restarting" if _loops(status) else "exited"), int(state["terminated"].get("exitCode") or 0)
    reason = str((state.get("waiting") or {}).get("reason") or "")
    last = (status.get("lastState") or {}).get("terminated")
    code = int(last.get("exitCode") or 0) if last else None
    if _loops(status):
        return "restarting", code
    return ("starting", code) if reason in _CALM_REASONS else ("failed", code)


def _loops(status: Mapping[str, Any]) -> bool:
    """Whether it ends again and again, and the kubelet starts it each time: also while it does not wait with that."""
    if (status["state"].get("waiting") or {}).get("reason") == "CrashLoopBackOff":
        return True
    ended = status["state"].get("terminated")
    if ended is None or not status.get("restartCount"):
        return False
    return bool(status["policy"] == "Always" or (status["policy"] == "OnFailure" and ended.get("exitCode")))


def _oom(status: Mapping[str, Any]) -> bool:
    ended = (status["state"].get("terminated"), (status.get("lastState") or {}).get("terminated"))
    return any(one is not None and one.get("reason") == "OOMKilled" for one in ended)


def _health(spec: Mapping[str, Any], status: Mapping[str, Any], state: str) -> str:
    if state != "running":
        return "none"
    # Without a probe a container that runs counts as ready, which says nothing.
    if not any(one.get("readinessProbe") or one.get("startupProbe") for one in spec["containers"]):
        return "none"
    if _condition(status, "Ready").get("status") == "True":
        return "healthy"
    statuses = status.get("containerStatuses") or ()
    return "starting" if any(one.get("started") is False for one in statuses) else "unhealthy"


def _problems(pod: Mapping[str, Any], containers: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    name, status = str(pod["metadata"]["name"]), pod.get("status") or {}
    if status.get("reason") == "Evicted":
        yield Problem("evicted", name, short(status.get("message")))
    elif status.get("reason"):
        yield Problem("pod_failed", name, short(f"{status['reason']}: {status.get('message') or ''}"))
    scheduled = _condition(status, "PodScheduled")
    if _unschedulable(status):
        yield Problem("unschedulable", name, short(scheduled.get("message")))
        if "unbound" in str(scheduled.get("message")) and "PersistentVolumeClaim" in str(scheduled.get("message")):
            yield Problem("volume_unbound", name, short(scheduled.get("message")))
    for one in containers:
        yield from _of_status(name, one)


def _of_status(pod: str, status: Mapping[str, Any]) -> Iterator[Problem]:
    which = f"container {status['name']}"
    waiting = status["state"].get("waiting") or {}
    reason = str(waiting.get("reason") or "")
    said = short(f"{which}: {reason}: {waiting.get('message') or ''}".rstrip(": "))
    if reason in _IMAGE_REASONS:
        yield Problem("image_pull_failed", pod, said)
    elif reason in _CONFIG_REASONS:
        yield Problem("container_not_created", pod, said)
    elif _loops(status):
        yield Problem("crash_looping", pod, said if reason else f"{which} ended again after a restart")
    elif reason not in _CALM_REASONS:
        yield Problem("waiting", pod, said)
    if _oom(status):
        yield Problem("oom_killed", pod, f"{which} was killed because it reached its limit of memory")
    ended = status["state"].get("terminated") or (status.get("lastState") or {}).get("terminated")
    if ended and ended.get("reason") != "OOMKilled" and ended.get("exitCode"):
        signal = f", signal {ended['signal']}" if ended.get("signal") else ""
        said = f"{which} ended with exit code {ended['exitCode']}{signal} at {ended.get('finishedAt')}"
        yield Problem("exited_with_error", pod, short(f"{said}: {ended.get('message') or ''}".rstrip(": ")))


def _unschedulable(status: Mapping[str, Any]) -> bool:
    scheduled = _condition(status, "PodScheduled")
    return scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"


def _condition(status: Mapping[str, Any], wanted: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one.get("type") == wanted), {})


def condition(thing: Mapping[str, Any], wanted: str) -> Mapping[str, Any]:
    """One condition of an object's status; empty when it has none by that name."""
    return _condition(thing.get("status") or {}, wanted)


def short(text: object) -> str:
    """One line, cut."""
    return " ".join(str(text or "").split())[:_MAX_DETAIL]
