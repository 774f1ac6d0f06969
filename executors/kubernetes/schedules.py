"""CronJobs and Jobs: start no more, start again, run once more; and the events of anything."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

from executors.deadline import Deadline
from executors.kubernetes.changing import change
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.gitops import refuse_hook, refuse_owned, unmarked
from executors.kubernetes.possible import refuse_kind
from executors.kubernetes.publishing import OnTarget, Published
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.settings import Kind
from executors.kubernetes.upkeep_calls import EVENTS, PUBLISHED, RERUN, RESUME, SCHEDULE, SUSPEND, Events
from executors.kubernetes.workloads import Workloads
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind, Happened

RERUN_OF = "uici.io/rerun-of"
"""On a Job that UICI made: the uid of what it was made from."""
_MANUAL = "cronjob.kubernetes.io/instantiate"
# The controller gives each Job labels of its own, which another must not have.
_OF_ONE_JOB = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_LONGEST_STEM = 50


class Schedules:
    """The calls on CronJobs, Jobs and events. Implements `executors.kubernetes.parts.Part`."""

    published: ClassVar[Mapping[str, Published]] = {
        name: PUBLISHED[name] for name in (SCHEDULE, SUSPEND, RESUME, RERUN, EVENTS)
    }

    def __init__(self, cluster: Cluster, workloads: Workloads, guard: SelfGuard) -> None:
        self._cluster = cluster
        self._workloads = workloads
        self._guard = guard

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Carry out one call. Raises CallError."""
        on_target = cast(OnTarget, arguments)
        refuse_kind(name, on_target.target)
        if name == EVENTS:
            return self._events(cast(Events, arguments), deadline)
        if name == SCHEDULE:
            return self._state(self._workloads.required(on_target.target, deadline), deadline)
        self._guard.check_binding(on_target.target)
        if name == RERUN:
            return self._rerun(on_target, deadline)
        return self._suspended(on_target, deadline, wanted=name == SUSPEND)

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """What `happened` compares with. Raises CallError where the call would be refused."""
        on_target = cast(OnTarget, arguments)
        refuse_kind(name, on_target.target)
        found = self._workloads.required(on_target.target, deadline)
        if name == RERUN:
            self._refuse_hook(found, on_target)
            _made_again(found, self._workloads.shown(on_target.target))
            return {"jobs": sorted(self._reruns(found, deadline))}
        self._refuse_owned(found, on_target)
        return {}

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """Whether the CronJob is as wanted, or there is a new Job made by UICI."""
        found = self._workloads.required(cast(OnTarget, arguments).target, deadline)
        if name == RERUN:
            new = self._reruns(found, deadline) - set(before["jobs"])
            return Happened.YES if new else Happened.NO
        return Happened.YES if bool(found["spec"].get("suspend")) is (name == SUSPEND) else Happened.NO

    def _suspended(self, on_target: OnTarget, deadline: Deadline, *, wanted: bool) -> JsonObject:
        binding = on_target.target

        def set_to(found: JsonObject) -> JsonObject:
            self._guard.check_object(found)
            if bool(found["spec"].get("suspend")) is wanted:
                return found
            self._refuse_owned(found, on_target)
            return {**found, "spec": {**found["spec"], "suspend": wanted}}

        resource, namespace = self._cluster.resource(binding.kind), self._workloads.namespace(binding)
        done = change(self._cluster, resource, namespace, binding.name, set_to, deadline)
        return {"changed": done.changed}

    def _refuse_owned(self, found: JsonObject, on_target: OnTarget) -> None:
        shown, overridden = self._workloads.shown(on_target.target), on_target.target.gitops == "override"
        refuse_owned(found, shown, self._cluster.where, overridden=overridden)

    def _refuse_hook(self, found: JsonObject, on_target: OnTarget) -> None:
        shown, overridden = self._workloads.shown(on_target.target), on_target.target.gitops == "override"
        refuse_hook(found, shown, self._cluster.where, overridden=overridden)

    def _state(self, found: JsonObject, deadline: Deadline) -> JsonObject:
        status, spec = found.get("status") or {}, found["spec"]
        failed = [job for job in self._workloads.owned(found, "Job", deadline) if failure_of(job) is not None]
        last = failed[-1] if failed else None
        return {
            "suspended": bool(spec.get("suspend")),
            "schedule": spec.get("schedule"),
            "active": len(status.get("active") or ()),
            "last_scheduled_at": status.get("lastScheduleTime"),
            "last_failed": {"name": last["metadata"]["name"], "reason": failure_of(last)} if last else None,
        }

    def _rerun(self, on_target: OnTarget, deadline: Deadline) -> JsonObject:
        found = self._workloads.required(on_target.target, deadline)
        self._guard.check_object(found)
        self._refuse_hook(found, on_target)
        body = _made_again(found, self._workloads.shown(on_target.target))
        made = self._cluster.create(self._cluster.resource("Job"), found["metadata"]["namespace"], body, deadline)
        return {"changed": True, "job": made["metadata"]["name"]}

    def _reruns(self, found: JsonObject, deadline: Deadline) -> set[str]:
        jobs = self._cluster.list(self._cluster.resource("Job"), found["metadata"]["namespace"], deadline=deadline)
        uid = found["metadata"]["uid"]
        return {
            job["metadata"]["uid"] for job in jobs if (job["metadata"].get("annotations") or {}).get(RERUN_OF) == uid
        }

    def _events(self, arguments: Events, deadline: Deadline) -> JsonObject:
        owner = self._workloads.required(arguments.target, deadline)
        about = {thing["metadata"]["uid"] for thing in self._related(owner, deadline)}
        namespace = self._workloads.namespace(arguments.target)
        name, listed = owner["metadata"]["name"], self._cluster.resource("Event")
        fields = f"involvedObject.kind=Node,involvedObject.name={name}" if namespace is None else None
        # The kubelet gives a node's name as its uid.
        found = (
            shown_event(one)
            for one in self._cluster.list(listed, namespace, fields=fields, deadline=deadline)
            if namespace is None or (one.get("involvedObject") or {}).get("uid") in about
        )
        newest = heapq.nlargest(arguments.limit + 1, found, key=lambda event: (event["at"], event["object"]))
        events = newest[: arguments.limit]
        warnings = sum(event["type"] == "Warning" for event in events)
        return {"events": events, "warnings": warnings, "truncated": len(newest) > len(events)}

    def _related(self, owner: JsonObject, deadline: Deadline) -> Iterator[JsonObject]:
        yield owner
        if owner["kind"] == Kind.NODE:
            return
        if owner["kind"] == Kind.DEPLOYMENT:
            yield from self._workloads.owned(owner, "ReplicaSet", deadline)
        if owner["kind"] == Kind.CRON_JOB:
            yield from self._workloads.owned(owner, "Job", deadline)
        yield from self._workloads.pods(owner, deadline)


def failure_of(job: Mapping[str, Any]) -> str | None:
    """Why a Job has failed for good; None when it has not. Pure."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return f"{condition.get('reason') or 'Failed'}: {condition.get('message') or ''}".strip(": ")
    return None


def shown_event(event: Mapping[str, Any]) -> JsonObject:
    """What people read of an event. Pure."""
    about = event.get("involvedObject") or {}
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    return {
        "at": str(next(time for time in times if time)),
        "type": str(event.get("type") or "Normal"),
        "reason": str(event.get("reason") or ""),
        "object": f"{about.get('kind')}/{about.get('name')}",
        "message": " ".join(str(event.get("message") or "").split())[:1000],
        "count": int(event.get("count") or series.get("count") or 1),
    }


def _made_again(found: JsonObject, shown: str) -> JsonObject:
    """The Job to be made. Raises CallError(PERMANENT, `job_not_failed`) for one that has not failed."""
    is_schedule = found["kind"] == Kind.CRON_JOB
    if not is_schedule and failure_of(found) is None:
        raise CallError(
            FailureKind.PERMANENT,
            "job_not_failed",
            f"{shown} has not failed, so it is not made again: it runs, or it has ended well",
        )
    source = found["spec"]["jobTemplate"] if is_schedule else found
    spec = copy.deepcopy(source["spec"])
    pods = spec["template"]
    for name in ("manualSelector", "selector"):
        spec.pop(name, None)
    labels = (pods.get("metadata") or {}).get("labels") or {}
    for name in _OF_ONE_JOB:
        labels.pop(name, None)
    metadata, own = source.get("metadata") or {}, found["metadata"]
    kept = {key: value for key, value in unmarked(metadata.get("labels") or {}).items() if key not in _OF_ONE_JOB}
    annotations = {RERUN_OF: own["uid"], **({_MANUAL: "manual"} if is_schedule else {})}
    owner = {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": own["name"], "uid": own["uid"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": f"{own['name'][:_LONGEST_STEM]}-",
            "labels": kept,
            "annotations": annotations,
            # A schedule's own job: it is seen with the others, and cleared away with them.
            **({"ownerReferences": [{**owner, "controller": True}]} if is_schedule else {}),
        },
        "spec": spec,
    }
