"""Looks at a workload: its status, health, logs, usage, description, and everything at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, cast

from executors import haproxy
from executors.deadline import Deadline
from executors.diagnostics import argv_of, unsuccessful
from executors.images import tag_of
from executors.kubernetes import read_calls
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.conditions import Seen, desired_of, status_of
from executors.kubernetes.diagnosing import diagnose
from executors.kubernetes.listing import services_of
from executors.kubernetes.logs import logs_of
from executors.kubernetes.observing import Observing
from executors.kubernetes.publishing import OnTarget, Published
from executors.kubernetes.quantities import cores, whole_bytes
from executors.kubernetes.read_calls import Diagnose, ListAll, Logs, SetBackend, Snapshot
from executors.kubernetes.revisions import deployment_of, previous, revisions_of
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.settings import Kind, KubernetesBinding
from executors.kubernetes.snapshots import details_of
from executors.kubernetes.usage import usage_of
from executors.kubernetes.workloads import Workloads, container_of, template
from executors.probes import run_probe
from executors.snapshot import take
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import CallError, FailureKind, Happened


class Reading:
    """The calls that only look, and the one that asks a load balancer. Implements `executors.kubernetes.parts.Part`."""

    published: ClassVar[Mapping[str, Published]] = read_calls.PUBLISHED

    def __init__(self, cluster: Cluster, workloads: Workloads, guard: SelfGuard) -> None:
        self._cluster = cluster
        self._workloads = workloads
        self._guard = guard
        self._observing = Observing(cluster, workloads)

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Look. Raises CallError."""
        binding = cast(OnTarget, arguments).target
        if isinstance(arguments, SetBackend):
            self._guard.check_binding(binding)
            self._guard.check_object(self._workloads.required(binding, deadline))
            return haproxy.change(haproxy.backend_of(binding.backend, binding), arguments.state, arguments.weight)
        if name == read_calls.BACKEND:
            backend = haproxy.backend_of(binding.backend, binding)
            return haproxy.look(backend).document(backend)
        if isinstance(arguments, ListAll):
            namespace = self._workloads.namespace(binding)
            return services_of(self._cluster, namespace, arguments, deadline)
        if isinstance(arguments, Diagnose):
            return self._diagnosed(arguments, deadline)
        if isinstance(arguments, Snapshot):
            return self._snapshot(arguments, deadline)
        return self._read(name, cast(OnTarget, arguments), deadline)

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Of the load balancer: its server's state."""
        binding = cast(SetBackend, arguments).target
        return haproxy.remember(haproxy.backend_of(binding.backend, binding))

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """Of the load balancer: whether its server is as it was wanted."""
        wanted = cast(SetBackend, arguments)
        return haproxy.prove(haproxy.backend_of(wanted.target.backend, wanted.target), wanted.state, wanted.weight)

    def _read(self, name: str, arguments: OnTarget, deadline: Deadline) -> JsonObject:
        binding = arguments.target
        if name in (read_calls.STATUS, read_calls.HEALTH):
            seen = self._observing.seen(binding, deadline)
            return status_of(seen) if name == read_calls.STATUS else self._health(binding, seen)
        thing = self._workloads.required(binding, deadline)
        if name == read_calls.DESCRIBE:
            return self._described(binding, thing, deadline)
        pods = self._workloads.pods(thing, deadline)
        if isinstance(arguments, Logs):
            return logs_of(self._cluster, pods, binding.container, arguments.lines, deadline)
        return usage_of(self._cluster, pods, deadline)

    def _health(self, binding: KubernetesBinding, seen: Seen) -> JsonObject:
        status = status_of(seen)
        checks = _checks(self._workloads.shown(binding), seen, status)
        if binding.health is not None and all(check["ok"] for check in checks):
            # Asked last: what does not run cannot answer, and the wait for it would only cost time.
            checks.append(dict(run_probe(binding.health)))
        return {"healthy": all(check["ok"] for check in checks), "state": status["state"], "checks": checks}

    def _described(self, binding: KubernetesBinding, thing: JsonObject, deadline: Deadline) -> JsonObject:
        status = status_of(self._observing.look(thing, deadline))
        if binding.kind is Kind.NODE:
            return {**_NOTHING_DEPLOYED, "configuration": _node_configuration(thing), "status": status}
        shown = self._workloads.shown(binding)
        container = container_of(template(thing), binding, shown)
        limits = (container.get("resources") or {}).get("limits") or {}
        configuration: JsonObject = {
            "image": container["image"],
            "version": tag_of(container["image"]),
            "replicas": desired_of(thing) if binding.kind is not Kind.CRON_JOB else None,
            "cpus": cores(limits.get("cpu")),
            "memory_bytes": whole_bytes(limits.get("memory")),
            "environment": environment_of(container),
            "command": [*(container.get("command") or ()), *(container.get("args") or ())],
        }
        return {**self._deployed(thing, container, deadline), "configuration": configuration, "status": status}

    def _deployed(self, thing: JsonObject, container: JsonObject, deadline: Deadline) -> JsonObject:
        """Which versions there are beside the present one."""
        if thing["kind"] not in ("Deployment", "StatefulSet", "DaemonSet"):
            return _NOTHING_DEPLOYED
        kind = "ReplicaSet" if thing["kind"] == "Deployment" else "ControllerRevision"
        revisions = revisions_of(self._workloads.owned(thing, kind, deadline))
        former = previous(thing, revisions)
        images = [] if former is None else former.template["spec"]["containers"]
        image = next((one["image"] for one in images if one["name"] == container["name"]), None)
        record = deployment_of(thing, revisions, container["image"])
        return {
            "previous_version": (tag_of(image) or image) if image else None,
            "deployed_at": record.get("deployed_at"),
            "deployment": record,
        }

    def _diagnosed(self, arguments: Diagnose, deadline: Deadline) -> JsonObject:
        binding = arguments.target
        argv = argv_of(binding.diagnostics, arguments.diagnostic, binding)
        # What it runs is somebody's choice, not surely a look: never inside UICI itself.
        self._guard.check_binding(binding)
        thing = self._workloads.required(binding, deadline)
        self._guard.check_object(thing)
        pod, container = self._running(binding, self._workloads.pods(thing, deadline))
        output = diagnose(self._cluster, pod, container, argv)
        if arguments.must_succeed and output.exit_code != 0:
            raise unsuccessful(output, arguments.diagnostic, binding)
        return output.document(arguments.diagnostic, pod["metadata"]["name"], self._cluster.settings.limits)

    def _running(self, binding: KubernetesBinding, pods: Sequence[JsonObject]) -> tuple[JsonObject, str]:
        """The first pod whose bound container runs, and that container's name. Raises PERMANENT `not_running`."""
        shown = self._workloads.shown(binding)
        for pod in pods:
            name = str(container_of(pod, binding, shown)["name"])
            statuses = (pod.get("status") or {}).get("containerStatuses") or ()
            runs = any(one["name"] == name and "running" in (one.get("state") or {}) for one in statuses)
            if runs and not pod["metadata"].get("deletionTimestamp"):
                return pod, name
        raise CallError(
            FailureKind.PERMANENT, "not_running", f"{shown} does not run at {self._cluster.where}; start it first"
        )

    def _snapshot(self, arguments: Snapshot, deadline: Deadline) -> JsonObject:
        binding = arguments.target
        logs = Logs(target=binding, lines=arguments.lines)

        def pods() -> list[JsonObject]:
            return self._workloads.pods(self._workloads.required(binding, deadline), deadline)

        def variables() -> Mapping[str, str]:
            found = self._workloads.found(binding, deadline)
            if found is None or binding.kind is Kind.NODE:
                return {}
            containers = template(found)["spec"]["containers"]
            return {
                f"{name}.{number}": value
                for number, one in enumerate(containers)
                for name, value in environment_of(one).items()
            }

        def processes() -> JsonValue:
            raise CallError(
                FailureKind.PERMANENT,
                "processes_unseen",
                f"{self._cluster.where} tells nothing of processes, and no program is run only to see them: list one "
                "among the binding's `diagnostics`, as ps: [ps, -ef]",
            )

        sections: dict[str, Callable[[], JsonValue]] = {
            "status": lambda: self._read(read_calls.STATUS, arguments, deadline),
            "health": lambda: self._read(read_calls.HEALTH, arguments, deadline),
            "logs": lambda: self._read(read_calls.LOGS, logs, deadline),
            "description": lambda: self._read(read_calls.DESCRIBE, arguments, deadline),
            # As far as it is known now: what else the snapshot shows would be gone after a wait.
            "resources": lambda: usage_of(self._cluster, pods(), deadline, patience_seconds=0),
            "processes": processes,
            "details": lambda: details_of(pods()),
        }
        return take(sections, variables, self._cluster.settings.limits.snapshot_bytes)


_NOTHING_DEPLOYED: JsonObject = {"previous_version": None, "deployed_at": None, "deployment": {}}


def environment_of(container: Mapping[str, JsonValue]) -> dict[str, str]:
    """Its variables; one whose value stands elsewhere says where, and never the value."""
    found = {}
    for one in container.get("env") or ():
        source = one.get("valueFrom") or {}
        kind: str = next(iter(source), "")
        place: JsonObject = source.get(kind) or {}
        where = place.get("fieldPath") or place.get("resource") or f"{place.get('name')}/{place.get('key')}"
        found[str(one["name"])] = f"(from {kind.removesuffix('Ref')} {where})" if source else str(one.get("value", ""))
    return found


def _checks(shown: str, seen: Seen, status: JsonObject) -> list[JsonObject]:
    if seen.thing is None:
        return [{"name": "exists", "ok": False, "detail": f"{shown} does not exist"}]
    checks: list[JsonObject] = []
    told = {name: [str(one) for one in seen.problems if one.instance == name] for name in _names(seen)}
    for one in seen.members:
        ended = "" if one.exit_code is None else f", exit code {one.exit_code}"
        # A pod of a Job that has done its work is well.
        runs = one.state == "running" or (seen.thing["kind"] in ("Job", "CronJob") and one.exit_code == 0)
        detail = "; ".join([f"{one.state}{ended}", *told.get(one.name, ())])
        checks.append({"name": f"{one.name} runs", "ok": runs, "detail": detail[:1000]})
        if one.health != "none":
            detail = "; ".join([one.health, *told.get(one.name, ())])
            checks.append({"name": f"{one.name} is ready", "ok": one.health == "healthy", "detail": detail[:1000]})
    own = [str(one) for one in seen.problems if one.instance not in {member.name for member in seen.members}]
    enough = status["state"] in ("running", "exited") and not (status["state"] == "exited" and status["exit_code"])
    counted = f"{status['state']}, {status['running']} of {status['desired']} run"
    checks.append({"name": f"{shown} is {status['state']}", "ok": enough, "detail": "; ".join([counted, *own])[:1000]})
    return checks


def _names(seen: Seen) -> set[str]:
    return {one.instance for one in seen.problems}


def _node_configuration(node: JsonObject) -> JsonObject:
    info, capacity = node["status"].get("nodeInfo") or {}, node["status"].get("capacity") or {}
    return {
        "image": info.get("osImage"),
        "version": info.get("kubeletVersion"),
        "replicas": 1,
        "cpus": cores(capacity.get("cpu")),
        "memory_bytes": whole_bytes(capacity.get("memory")),
        "environment": {},
        "command": [],
    }
