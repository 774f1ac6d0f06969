"""Starts, stops, restarts and scales workloads, and waits until the pods are as wanted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar, cast

from executors.deadline import Deadline
from executors.kubernetes import lifecycle_calls
from executors.kubernetes.autoscaling import autoscaler_of, rebounded, refuse_bounded
from executors.kubernetes.changing import Changed, change
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.facts import Facts
from executors.kubernetes.gitops import refuse_owned
from executors.kubernetes.lifecycle_calls import RESTART, SCALE, START, STOP, Scale
from executors.kubernetes.possible import refuse_kind
from executors.kubernetes.publishing import Published
from executors.kubernetes.rolling import Patience, Rollouts
from executors.kubernetes.rolling_calls import Roll
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.settings import Kind
from executors.kubernetes.templates import RESTARTED_AT
from executors.kubernetes.workloads import Workloads
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind, Happened

REPLICAS_NOTE = "uici.io/replicas-before-stop"
_PAUSE = 0.3
_LEFT_AFTER_PROOF = 3.0


class Lifecycle:
    """The calls that start, stop, restart and scale. Implements `executors.kubernetes.parts.Part`."""

    published: ClassVar[Mapping[str, Published]] = lifecycle_calls.PUBLISHED

    def __init__(self, cluster: Cluster, workloads: Workloads, guard: SelfGuard) -> None:
        self._cluster = cluster
        self._workloads = workloads
        self._guard = guard
        self._rollouts = Rollouts(cluster, workloads)

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Change the object, and wait until its pods follow. Raises CallError."""
        roll = cast(Roll, arguments)
        self._guard.check_binding(roll.target)
        refuse_kind(name, roll.target)
        thing = self._workloads.required(roll.target, deadline)
        self._guard.check_object(thing)
        if roll.target.kind is Kind.CRON_JOB:
            return self._suspended(roll, name == STOP, deadline)
        if name == SCALE:
            self._rebound(thing, cast(Scale, roll), deadline)
        former = {one.uid for one in self._facts(thing, deadline) if name == RESTART}
        done = self._changed(name, roll, deadline)
        self._cluster.api.now_waits()
        self._wait(done.after, roll, former, deadline)
        told: JsonObject = {
            "changed": done.changed,
            "instances": [one.uid for one in self._facts(done.after, deadline) if not one.going and not one.finished],
        }
        if name == SCALE:
            told |= {"replicas": _replicas(done.after), "previous_replicas": _replicas(done.before)}
        return told

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Which object there is, its number of pods, when it was restarted last, and its pods' uids."""
        roll = cast(Roll, arguments)
        refuse_kind(name, roll.target)
        thing = self._workloads.required(roll.target, deadline)
        captured: JsonObject = {"uid": thing["metadata"]["uid"]}
        if roll.target.kind is Kind.CRON_JOB:
            return captured
        pods = [] if name != RESTART else sorted(one.uid for one in self._facts(thing, deadline))
        return {**captured, "restarted_at": _restarted_at(thing), "replicas": _replicas(thing), "pods": pods}

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """Whether the object is as the call would make it; then its pods get some time to follow."""
        roll = cast(Roll, arguments)
        thing = self._workloads.required(roll.target, deadline)
        if thing["metadata"]["uid"] != before.get("uid"):
            return Happened.UNKNOWN
        if not _is_done(name, roll, thing, before):
            return Happened.NO
        if roll.target.kind is not Kind.CRON_JOB:
            with suppress(CallError):
                rest = Deadline(deadline.left() - _LEFT_AFTER_PROOF)
                self._wait(thing, roll, set(before.get("pods") or ()), rest)
        return Happened.YES

    def _changed(self, name: str, roll: Roll, deadline: Deadline) -> Changed:
        binding, shown = roll.target, self._workloads.shown(roll.target)
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

        def how(found: JsonObject) -> JsonObject:
            if name == RESTART and (binding.kind is Kind.DAEMON_SET or _replicas(found)):
                _refuse_unrolled(found, shown)
                return _restarted(found, moment)
            wanted = _wanted(name, roll, found)
            if wanted != _replicas(found):
                refuse_owned(found, shown, self._cluster.where, overridden=binding.gitops == "override")
            return _scaled(found, wanted, noted=name == STOP)

        resource, namespace = self._cluster.resource(binding.kind), self._workloads.namespace(binding)
        return change(self._cluster, resource, namespace, binding.name, how, deadline)

    def _suspended(self, roll: Roll, suspend: bool, deadline: Deadline) -> JsonObject:
        binding, shown = roll.target, self._workloads.shown(roll.target)

        def how(found: JsonObject) -> JsonObject:
            if bool(found["spec"].get("suspend")) is suspend:
                return found
            refuse_owned(found, shown, self._cluster.where, overridden=binding.gitops == "override")
            return {**found, "spec": {**found["spec"], "suspend": suspend}}

        resource, namespace = self._cluster.resource(binding.kind), self._workloads.namespace(binding)
        done = change(self._cluster, resource, namespace, binding.name, how, deadline)
        return {"changed": done.changed, "instances": []}

    def _wait(self, thing: JsonObject, roll: Roll, former: set[str], deadline: Deadline) -> None:
        """Until the wanted pods are ready, and those of `former` and those that are too many have ended."""
        if roll.target.kind is Kind.DAEMON_SET or _replicas(thing):
            self._rollouts.wait(thing, Patience(roll.rollout_timeout_seconds, roll.stuck_seconds), deadline)
        while True:
            pods = self._workloads.pods(thing, deadline)
            left = [pod["metadata"]["name"] for pod in pods if _still_runs(pod, former, _replicas(thing))]
            live = sum(not one.going and not one.finished for one in map(Facts.of, pods))
            if not left and (roll.target.kind is Kind.DAEMON_SET or live <= _replicas(thing)):
                return
            if deadline.left() < _PAUSE:
                raise CallError(
                    FailureKind.UNKNOWN,
                    "pods_not_ended",
                    f"pods of {self._workloads.shown(roll.target)} should have ended and still run: "
                    f"{', '.join(left[:10]) or live}; look at their nodes",
                )
            time.sleep(_PAUSE)

    def _facts(self, thing: JsonObject, deadline: Deadline) -> list[Facts]:
        return [Facts.of(pod) for pod in self._workloads.pods(thing, deadline)]

    def _rebound(self, thing: JsonObject, scale: Scale, deadline: Deadline) -> None:
        """Let the workload's autoscaler, if it has one, allow the number; else it would set another at once."""
        metadata, binding = thing["metadata"], scale.target
        scaler = autoscaler_of(self._cluster, thing["kind"], metadata["namespace"], metadata["name"], deadline)
        if scaler is None:
            return
        shown = self._workloads.shown(binding)

        def how(found: JsonObject) -> JsonObject:
            wanted = rebounded(found, scale.replicas)
            if wanted["spec"] != found["spec"]:
                refuse_bounded(found, scale.replicas, shown, adjustable=binding.autoscaler == "adjust")
                refuse_owned(found, shown, self._cluster.where, overridden=binding.gitops == "override")
            return wanted

        resource = self._cluster.resource("HorizontalPodAutoscaler")
        change(self._cluster, resource, metadata["namespace"], scaler["metadata"]["name"], how, deadline)


def _wanted(name: str, roll: Roll, found: JsonObject) -> int:
    """The number of pods that the call wants."""
    if isinstance(roll, Scale):
        return roll.replicas
    present = _replicas(found)
    if name == STOP:
        return 0
    # A restart of what is stopped starts it, as it does everywhere.
    noted = str((found["metadata"].get("annotations") or {}).get(REPLICAS_NOTE) or "")
    return present or (int(noted) if noted.isascii() and noted.isdigit() and int(noted) else 1)


def _is_done(name: str, roll: Roll, thing: JsonObject, before: JsonObject) -> bool:
    if roll.target.kind is Kind.CRON_JOB:
        return bool(thing["spec"].get("suspend")) is (name == STOP)
    if isinstance(roll, Scale):
        return _replicas(thing) == roll.replicas
    if name == STOP:
        return _replicas(thing) == 0
    if name == START or (roll.target.kind is not Kind.DAEMON_SET and not before.get("replicas")):
        return _replicas(thing) > 0
    return _restarted_at(thing) != before.get("restarted_at")


def _replicas(thing: JsonObject) -> int:
    return int(thing["spec"].get("replicas", 1))


def _restarted_at(thing: JsonObject) -> str | None:
    found = thing["spec"]["template"].get("metadata") or {}
    said = (found.get("annotations") or {}).get(RESTARTED_AT)
    return None if said is None else str(said)


def _restarted(found: JsonObject, moment: str) -> JsonObject:
    template = found["spec"]["template"]
    metadata = template.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), RESTARTED_AT: moment}
    changed = {**template, "metadata": {**metadata, "annotations": annotations}}
    return {**found, "spec": {**found["spec"], "template": changed}}


def _scaled(found: JsonObject, replicas: int, *, noted: bool) -> JsonObject:
    present = _replicas(found)
    if present == replicas:
        return found
    annotations = dict(found["metadata"].get("annotations") or {})
    annotations.pop(REPLICAS_NOTE, None)
    if noted:
        annotations[REPLICAS_NOTE] = str(present)
    metadata = {**found["metadata"], "annotations": annotations}
    return {**found, "metadata": metadata, "spec": {**found["spec"], "replicas": replicas}}


def _refuse_unrolled(found: JsonObject, shown: str) -> None:
    """What would not replace its pods although its template has changed."""
    if found["spec"].get("paused"):
        raise CallError(
            FailureKind.PERMANENT,
            "rollout_paused",
            f"the rollout of {shown} is paused (spec.paused), so its pods would stay; nothing was changed. Somebody "
            "paused it on purpose: ask, or resume it with `kubectl rollout resume`",
        )
    if (found["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        raise CallError(
            FailureKind.PERMANENT,
            "on_delete",
            f"{shown} replaces a pod only when somebody deletes it (updateStrategy OnDelete); nothing was changed. "
            "Delete the pods one by one, or set its strategy to RollingUpdate",
        )


def _still_runs(pod: JsonObject, former: set[str], replicas: int) -> bool:
    """Whether a pod that should have ended has a container that has not."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    if metadata["uid"] not in former and not metadata.get("deletionTimestamp") and replicas:
        return False
    if status.get("phase") in ("Succeeded", "Failed"):
        return False
    states = [one.get("state") or {} for one in status.get("containerStatuses") or ()]
    return not states or any("terminated" not in state for state in states)
