"""The calls that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from executors.deadline import Deadline
from executors.diagnostics import argv_of, unsuccessful
from executors.images import tag_of
from executors.oci.arguments import Diagnose, ListAll, Logs, OnTarget, Snapshot
from executors.oci.balancer import Balancing
from executors.oci.connection import Cloud
from executors.oci.facts import GONE, TAG_DEPLOYED_AT, TAG_PREVIOUS_IMAGE, Facts, state_of, status_of
from executors.oci.lookup import Lookup
from executors.oci.possible import refuse_unfit
from executors.oci.readings import diagnose, logs_of, usage_of
from executors.oci.self_guard import SelfGuard
from executors.oci.settings import OciBinding
from executors.oci.work import Work
from executors.snapshot import take
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

_STOP, _START = "STOP_CONTAINER_INSTANCE", ("START_CONTAINER_INSTANCE", "RESTART_CONTAINER_INSTANCE")


class Looks:
    """Answers every read-only call. All methods raise CallError."""

    def __init__(self, cloud: Cloud, lookup: Lookup, work: Work, guard: SelfGuard, balancing: Balancing) -> None:
        self._cloud = cloud
        self._lookup = lookup
        self._work = work
        self._guard = guard
        self._balancing = balancing

    def at(self, name: str, arguments: OnTarget, deadline: Deadline) -> JsonObject:
        """One read-only call."""
        binding = arguments.target
        if isinstance(arguments, ListAll):
            return self._services(arguments)
        if isinstance(arguments, Diagnose):
            return self._diagnosed(arguments, deadline)
        if name == "oci.backend":
            return self._balancing.look(binding)
        if isinstance(arguments, Snapshot):
            return self._snapshot(arguments)
        return self._read(name, arguments)

    def _read(self, name: str, arguments: OnTarget) -> JsonObject:
        binding = arguments.target
        refuse_unfit(name.removeprefix("oci."), binding)
        members = [self._told_apart(one, binding) for one in self._lookup.members(binding)]
        status = status_of(members, self._desired(binding, members))
        if name == "oci.status":
            return status
        if name == "oci.health":
            return self._health(binding, members, status)
        if not members:
            raise self._lookup.missing(binding)
        if isinstance(arguments, Logs):
            return logs_of(self._cloud, self._work, binding, members, arguments.lines)
        if name == "oci.usage":
            return usage_of(self._cloud, binding, [one for one in members if one.state == "running"])
        return _described(members, status)

    def _desired(self, binding: OciBinding, members: Sequence[Facts]) -> int:
        pool = self._lookup.pool(binding) if binding.instance_pool is not None else None
        return int(pool[0]["size"]) if pool is not None else max(1, len(members))

    def _told_apart(self, one: Facts, binding: OciBinding) -> Facts:
        """`stopped` instead of `exited` for what was stopped on request; costs one request for what has ended."""
        if not binding.is_container or one.state != "exited" or one.lifecycle != "INACTIVE":
            return one
        for work in self._work.of_containers(one.compartment, one.id):
            if work.get("operation_type") in (_STOP, *_START) and work.get("status") == "SUCCEEDED":
                return one.stopped_on_request() if work["operation_type"] == _STOP else one
        return one

    def _health(self, binding: OciBinding, members: Sequence[Facts], status: JsonObject) -> JsonObject:
        checks: list[JsonObject] = []
        if not members:
            checks.append({"name": "exists", "ok": False, "detail": f"{binding} does not exist"})
        for one in members:
            ended = "" if one.exit_code is None else f", exit code {one.exit_code}"
            runs = one.state == "running"
            checks.append({"name": f"{one.name} runs", "ok": runs, "detail": f"{one.state} ({one.lifecycle}){ended}"})
            if one.health != "none":
                detail = one.health + (f": {one.health_output}" if one.health_output else "")
                checks.append({"name": f"{one.name} health check", "ok": one.health == "healthy", "detail": detail})
        if all(check["ok"] for check in checks):
            # Asked last: what does not run cannot answer, and the wait for it would only cost time.
            checks += [dict(one) for one in self._lookup.probed(binding, members)]
        return {"healthy": all(check["ok"] for check in checks), "state": status["state"], "checks": checks}

    def _diagnosed(self, arguments: Diagnose, deadline: Deadline) -> JsonObject:
        binding, limits = arguments.target, self._cloud.settings.limits
        refuse_unfit("diagnose", binding)
        argv = argv_of(binding.diagnostics, arguments.diagnostic, binding)
        # What it runs is somebody's choice, not surely a look: never inside UICI itself.
        self._guard.check_binding(binding)
        members = self._lookup.members(binding)
        if not members:
            raise self._lookup.missing(binding)
        self._guard.check_members(members)
        running = [one for one in members if one.state == "running"]
        if not running:
            raise CallError(
                FailureKind.PERMANENT, "not_running", f"{binding} does not run on {self._cloud.where}; start it first"
            )
        output = diagnose(self._cloud, running[0], argv, limits, deadline)
        if arguments.must_succeed and output.exit_code != 0:
            raise unsuccessful(output, arguments.diagnostic, binding)
        return output.document(arguments.diagnostic, running[0].name, limits)

    def _services(self, wanted: ListAll) -> JsonObject:
        """Container instances and compute instances of the compartment, by name."""
        compartment = self._lookup.compartment(wanted.target)
        images: dict[str, str] = {
            str(one["container_instance_id"]): str(one.get("image_url") or "")
            for one in self._cloud.all("containers", "list_containers", compartment)
        }
        found = [
            _entry(one, images.get(str(one["id"])))
            for one in (
                *self._lookup.listed(compartment),
                *self._cloud.all("compute", "list_instances", compartment),
            )
            if one.get("lifecycle_state") not in GONE
        ]
        if wanted.state is not None:
            found = [one for one in found if one["state"] == wanted.state]
        found.sort(key=lambda one: (str(one["name"]), str(one["id"])))
        return {
            "services": found[: wanted.limit],
            "total": len(found),
            "running": sum(one["state"] == "running" for one in found),
            "truncated": len(found) > wanted.limit,
        }

    def _snapshot(self, wanted: Snapshot) -> JsonObject:
        logs = Logs(target=wanted.target, lines=wanted.lines)

        def members() -> list[Facts]:
            found = self._lookup.members(wanted.target)
            if not found:
                raise self._lookup.missing(wanted.target)
            return found

        def processes() -> JsonValue:
            raise CallError(FailureKind.PERMANENT, "not_possible", "Oracle Cloud does not show processes")

        def variables() -> Mapping[str, str]:
            return {
                f"{name}.{number}": value
                for number, one in enumerate(self._lookup.members(wanted.target))
                for name, value in one.environment.items()
            }

        sections: dict[str, Callable[[], JsonValue]] = {
            "status": lambda: self._read("oci.status", wanted),
            "health": lambda: self._read("oci.health", wanted),
            "logs": lambda: self._read("oci.logs", logs),
            "description": lambda: self._read("oci.describe", wanted),
            "resources": lambda: self._read("oci.usage", wanted),
            "processes": processes,
            "details": lambda: [{**one.raw, "containers": list(one.containers)} for one in members()],
        }
        return take(sections, variables, self._cloud.settings.limits.snapshot_bytes)


def _entry(one: JsonObject, image: str | None) -> JsonObject:
    return {
        "id": one["id"],
        "name": one.get("display_name"),
        "state": state_of(one.get("lifecycle_state")),
        "image": image or one.get("image_id"),
        "version": tag_of(image) if image else None,
    }


def _described(members: Sequence[Facts], status: JsonObject) -> JsonObject:
    first = members[0]
    previous = first.tags.get(TAG_PREVIOUS_IMAGE)
    kept = {"image": first.image, "previous_image": previous, "deployed_at": first.tags.get(TAG_DEPLOYED_AT)}
    return {
        "configuration": {
            "image": first.image,
            "version": first.version,
            "replicas": len(members),
            "cpus": first.cpus,
            "memory_bytes": first.memory_bytes,
            "environment": dict(first.environment),
            "command": list(first.command),
        },
        "previous_version": (tag_of(previous) or previous) if previous else None,
        "deployed_at": first.tags.get(TAG_DEPLOYED_AT),
        "deployment": {name: value for name, value in kept.items() if value},
        "status": status,
    }
