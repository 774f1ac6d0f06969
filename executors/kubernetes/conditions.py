"""The platform-neutral status of a bound object, put together of its own status, its pods and its events. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executors.images import tag_of
from executors.kubernetes.facts import Facts, Problem, condition, short, worst, worst_health
from executors.kubernetes.workloads import template
from uici.model.base import JsonObject

_PROBE = re.compile(r"^(Liveness|Readiness|Startup) probe (failed|errored)")
_OF_EVENT = {
    "FailedMount": "volume_not_mounted",
    "FailedAttachVolume": "volume_not_mounted",
    "FailedCreatePodSandBox": "sandbox_failed",
    "NodeNotReady": "node_not_ready",
    "Evicted": "evicted",
}
_PRESSURES = {
    "MemoryPressure": "node_memory_pressure",
    "DiskPressure": "node_disk_pressure",
    "PIDPressure": "node_pid_pressure",
}


@dataclass(frozen=True)
class Seen:
    """What was looked at of one bound object."""

    thing: Mapping[str, Any] | None
    """None when it is missing."""
    members: tuple[Facts, ...] = ()
    """Its pods, without those that are going and those that have ended and were replaced."""
    jobs: tuple[Mapping[str, Any], ...] = ()
    """Of a CronJob, oldest first."""
    problems: tuple[Problem, ...] = field(default=())


def status_of(seen: Seen) -> JsonObject:
    """As get_service_status reports it."""
    if seen.thing is None:
        return {**_status("missing", 1, seen), "exit_code": None}
    state, desired = _OF_KIND.get(seen.thing["kind"], _replicated)(seen.thing, seen)
    return _status(state, desired, seen)


def _status(state: str, desired: int, seen: Seen) -> JsonObject:
    members = seen.members
    ended = [one.exit_code for one in members if one.exit_code is not None and one.state != "running"]
    running = sum(one.state == "running" for one in members)
    if seen.thing is not None and seen.thing["kind"] == "Node":
        running = int(state != "failed")
    return {
        "state": state,
        "desired": desired,
        "running": running,
        "instances": [one.instance() for one in members],
        "exit_code": max(ended, default=None),
        "oom_killed": any(one.oom_killed for one in members),
        "restart_count": sum(one.restart_count for one in members),
        "started_at": max((one.started_at for one in members if one.started_at), default=None),
        "version": _version(seen),
        "health": worst_health(members),
        "reasons": sorted({one.reason for one in seen.problems}),
        "problems": [str(one) for one in seen.problems[:50]],
    }


def _version(seen: Seen) -> str | None:
    if seen.thing is None or seen.thing["kind"] == "Node":
        return None
    return tag_of(str(template(dict(seen.thing))["spec"]["containers"][0]["image"]))


def desired_of(thing: Mapping[str, Any]) -> int:
    """How many pods there should be."""
    spec, status = thing.get("spec") or {}, thing.get("status") or {}
    if thing["kind"] == "DaemonSet":
        return int(status.get("desiredNumberScheduled") or 0)
    if thing["kind"] == "Job":
        return 0 if spec.get("suspend") else int(spec.get("parallelism") or 1)
    return int(spec.get("replicas", 1))


def _replicated(thing: Mapping[str, Any], seen: Seen) -> tuple[str, int]:
    desired = desired_of(thing)
    found = worst(one.state for one in seen.members)
    if found is None:
        if desired == 0:
            return "stopped", 0
        return ("failed" if seen.problems else "starting"), desired
    if found == "running" and sum(one.state == "running" for one in seen.members) < desired:
        return "starting", desired
    return found, desired


def _pod(thing: Mapping[str, Any], seen: Seen) -> tuple[str, int]:
    return (seen.members[0].state if seen.members else "stopped"), 1


def _job(thing: Mapping[str, Any], seen: Seen) -> tuple[str, int]:
    desired = desired_of(thing)
    if condition(thing, "Failed").get("status") == "True":
        return "failed", desired
    if condition(thing, "Complete").get("status") == "True":
        return "exited", desired
    if (thing.get("spec") or {}).get("suspend"):
        return "stopped", 0
    live = worst(one.state for one in seen.members if not (one.state == "exited" and one.exit_code == 0))
    return live or "starting", desired


def _cron_job(thing: Mapping[str, Any], seen: Seen) -> tuple[str, int]:
    """Running means that its schedule is in force, and its last Job did not fail."""
    if (thing.get("spec") or {}).get("suspend"):
        return "stopped", 0
    failed = bool(seen.jobs) and condition(seen.jobs[-1], "Failed").get("status") == "True"
    return ("failed" if failed else "running"), len((thing.get("status") or {}).get("active") or ())


def _node(thing: Mapping[str, Any], seen: Seen) -> tuple[str, int]:
    if condition(thing, "Ready").get("status") != "True":
        return "failed", 1
    return ("paused" if (thing.get("spec") or {}).get("unschedulable") else "running"), 1


_OF_KIND = {"Pod": _pod, "Job": _job, "CronJob": _cron_job, "Node": _node}


def own_problems(thing: Mapping[str, Any]) -> Iterator[Problem]:
    """What the object's own status says is wrong."""
    name = str(thing["metadata"]["name"])
    if thing["kind"] == "Node":
        ready = condition(thing, "Ready")
        if ready.get("status") != "True":
            yield Problem("node_not_ready", name, short(f"{ready.get('reason')}: {ready.get('message')}"))
        for kind, reason in _PRESSURES.items():
            if condition(thing, kind).get("status") == "True":
                yield Problem(reason, name, short(condition(thing, kind).get("message")))
        return
    failure = condition(thing, "ReplicaFailure")
    if failure.get("status") == "True":
        yield Problem(_refused(str(failure.get("message"))), name, short(failure.get("message")))
    progressing = condition(thing, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        yield Problem("rollout_stuck", name, short(progressing.get("message")))
    failed = condition(thing, "Failed")
    if thing["kind"] == "Job" and failed.get("status") == "True":
        yield Problem("job_failed", name, short(f"{failed.get('reason')}: {failed.get('message')}"))


def event_problems(events: Iterable[Mapping[str, Any]], about_whom: Iterable[str], since: str) -> Iterator[Problem]:
    """What the warnings since a moment say is wrong; `about_whom` are the names of what is looked at."""
    names = set(about_whom)
    seen: set[tuple[str, str]] = set()
    for event in sorted(events, key=moment_of, reverse=True):
        about = str((event.get("involvedObject") or {}).get("name"))
        message = str(event.get("message") or "")
        reason = _of_event(str(event.get("reason")), message)
        if reason is None or about not in names or (reason, about) in seen or moment_of(event) < since:
            continue
        seen.add((reason, about))
        times = f" ({event['count']} times)" if int(event.get("count") or 1) > 1 else ""
        yield Problem(reason, about, short(message) + times)


def _of_event(reason: str, message: str) -> str | None:
    if reason == "Unhealthy":
        probe = _PROBE.match(message)
        return f"{probe[1].lower()}_failing" if probe else None
    if reason == "FailedCreate":
        return _refused(message)
    return _OF_EVENT.get(reason)


def _refused(message: str) -> str:
    return "quota_exceeded" if "exceeded quota" in message else "pods_refused"


def moment_of(event: Mapping[str, Any]) -> str:
    """When the event was last seen; newer servers keep it in a series."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def live_members(thing: Mapping[str, Any], pods: Sequence[Facts]) -> list[Facts]:
    """The pods that count: what is going, or has ended and was replaced by its controller, is history."""
    if thing["kind"] in ("Pod", "Job", "CronJob"):
        return list(pods)
    return [one for one in pods if not one.going and not one.finished]
