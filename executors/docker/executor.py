"""The executor of Docker environments: parses a call, finds its containers, and lets the right module do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, cast

from executors import haproxy
from executors.arguments import fitting, parsed
from executors.deadline import Deadline
from executors.diagnostics import argv_of, unsuccessful
from executors.docker import calls, checkup
from executors.docker.arguments import (
    ARGUMENTS,
    OPEN_CALL,
    Configure,
    Deploy,
    Diagnose,
    EngineRequest,
    Exec,
    ListAll,
    Logs,
    OnTarget,
    Recreate,
    Scale,
    SetBackend,
    Snapshot,
    Stop,
    Update,
)
from executors.docker.calls import CALL_SPECS
from executors.docker.changes import Changes, deployment_of
from executors.docker.connection import DockerSettings
from executors.docker.engine import Engine
from executors.docker.execution import Execution
from executors.docker.facts import LABEL_DEPLOYED_AT, LABEL_PREVIOUS_IMAGE, Facts, status_of
from executors.docker.looking import services_of, snapshot_of
from executors.docker.lookup import Lookup, Reference
from executors.docker.open_calls import engine_request, run_inside
from executors.docker.proof import Proof
from executors.docker.readings import Samples, logs_of
from executors.docker.reclaiming import Reclaiming
from executors.docker.recreate import Recreation, Terms
from executors.docker.self_guard import SelfGuard
from executors.docker.settings import DockerBinding
from executors.images import tag_of
from executors.probes import run_probe
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import Call, CallError, CallSpec, FailureKind, Happened, Risk
from uici.model.grants import Account
from uici.ports import ConnectionReport, ExecutorContext

_RECREATING = frozenset({"container.configure", "container.deploy", "container.rollback"})


class DockerExecutor:
    """Containers of one Docker engine. Implements `uici.ports.Executor`."""

    platform: ClassVar[str] = "docker"
    call_specs: ClassVar[Mapping[str, CallSpec]] = CALL_SPECS
    settings_model: ClassVar[type[Frozen]] = DockerSettings
    binding_model: ClassVar[type[Frozen]] = DockerBinding
    rehearses: ClassVar[bool] = False

    def __init__(self, context: ExecutorContext) -> None:
        """Store what is given; no I/O. Raises CallError(PERMANENT, `bad_settings`)."""
        settings = fitting(DockerSettings, context)
        self._engine = Engine(settings, context.environment)
        self._lookup = Lookup(self._engine)
        self._samples = Samples(self._engine)
        self._guard = SelfGuard(self._engine, self._lookup, context.whole_identity, context.layers.executor)
        self._recreation = Recreation(self._engine, self._lookup)
        self._changes = Changes(self._engine, self._lookup, self._recreation)
        self._proof = Proof(self._engine, self._changes)
        self._execution = Execution(self._engine)
        self._reclaiming = Reclaiming(self._engine, self._lookup)

    @classmethod
    def classify(cls, name: str, arguments: JsonObject) -> tuple[bool, Risk]:
        """Whether this call mutates, and its risk. Raises CallError(PERMANENT, `unknown_call`)."""
        return calls.classify(name, arguments)

    @classmethod
    def grants(cls, calls: Iterable[tuple[str, JsonObject]], account: Account) -> None:
        """The Engine API lets everybody do everything who reaches it."""

    def perform(self, call: Call) -> JsonObject:
        """Carry out one call and return its result. Raises CallError; never retries."""
        spec = calls.spec_of(call.name)
        deadline = Deadline(min(call.timeout_seconds, spec.timeout_seconds))
        arguments = parsed(ARGUMENTS[call.name], call.name, call.arguments)
        if isinstance(arguments, EngineRequest):
            mutates, _ = calls.classify(OPEN_CALL, call.arguments)
            if mutates:
                self._guard.check_request(arguments)
                self._lookup.forget()
            return engine_request(self._engine, arguments, mutates, deadline)
        on_target = cast(OnTarget, arguments)
        if not spec.mutates:
            return self._look(call.name, on_target, deadline)
        self._guard.check_binding(on_target.target)
        if isinstance(on_target, SetBackend):
            # The container may be gone: then nothing should be sent to it, least of all.
            self._refuse_own(self._lookup.references(on_target.target, deadline))
            backend = haproxy.backend_of(on_target.target.backend, on_target.target)
            return haproxy.change(backend, on_target.state, on_target.weight)
        if call.name in _RECREATING:
            self._recover(on_target)
        if call.name in ("container.start", "container.stop", "container.restart", "container.exec"):
            return self._act_by_reference(call.name, on_target, deadline)
        return self._act_on_inspected(call.name, on_target, deadline)

    def before(self, call: Call) -> JsonObject:
        """State to compare with later; read-only. Raises CallError when the engine cannot be asked."""
        if not calls.spec_of(call.name).provable:
            return {}
        arguments = cast(OnTarget, parsed(ARGUMENTS[call.name], call.name, call.arguments))
        if isinstance(arguments, SetBackend):
            return haproxy.remember(haproxy.backend_of(arguments.target.backend, arguments.target))
        if call.name == "container.reclaim":
            return self._reclaiming.before()
        return self._proof.before(call.name, arguments, self._lookup.members(arguments.target))

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """Whether the containers show that the call was carried out.

        A replacement that was left half done is first ended, forward or back. Raises CallError when the engine
        cannot be asked.
        """
        if not calls.spec_of(call.name).provable:
            return Happened.UNKNOWN
        arguments = cast(OnTarget, parsed(ARGUMENTS[call.name], call.name, call.arguments))
        if isinstance(arguments, SetBackend):
            backend = haproxy.backend_of(arguments.target.backend, arguments.target)
            return haproxy.prove(backend, arguments.state, arguments.weight)
        if call.name == "container.reclaim":
            return self._reclaiming.happened(before)
        if call.name in _RECREATING:
            self._guard.check_binding(arguments.target)
            self._recover(arguments)
        return self._proof.happened(call.name, arguments, before, self._lookup.members(arguments.target))

    def rehearse(self, call: Call) -> None:
        """The Engine API knows no dry run."""

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """Bindings of what an alert's labels name: by id, by name, then by compose service. Raises CallError."""
        return self._lookup.find(labels)

    def check(self) -> ConnectionReport:
        """Whether the engine answers, and what can be told of it; never raises."""
        return checkup.report(self._engine)

    def close(self) -> None:
        """Close the connections. Containers keep running."""
        self._engine.close()

    def _recover(self, arguments: OnTarget) -> bool:
        binding = arguments.target
        timeout = arguments.health_timeout_seconds if isinstance(arguments, Recreate) else 60.0
        return self._recreation.recover(binding, Terms(binding.stop_seconds, timeout, binding.health))

    def _act_by_reference(self, name: str, arguments: OnTarget, deadline: Deadline) -> JsonObject:
        """Calls that need no more of a container than its id."""
        members = self._lookup.references(arguments.target, deadline)
        if not members and self._recover(arguments):
            members = self._lookup.references(arguments.target, deadline)
        self._refuse(arguments.target, members)
        if isinstance(arguments, Exec):
            first = self._first_running(arguments, deadline)
            return run_inside(self._execution, first.id, first.name, arguments, deadline)
        grace = arguments.grace if isinstance(arguments, Stop) else 0
        verb = name.removeprefix("container.")
        try:
            return self._changes.signal(verb, members, grace, deadline)
        except CallError as error:
            if error.code != "container_not_found" or error.kind is not FailureKind.PERMANENT:
                raise
            # It was there a moment ago: replaced by another of its name, or gone.
            self._lookup.forget()
            members = self._lookup.references(arguments.target, deadline)
            self._refuse(arguments.target, members)
            return self._changes.signal(verb, members, grace, deadline)

    def _act_on_inspected(self, name: str, arguments: OnTarget, deadline: Deadline) -> JsonObject:
        inspected = self._lookup.inspected(arguments.target, deadline)
        members = [Facts.of(found) for found in inspected]
        self._refuse(arguments.target, [Reference(one.id, one.name) for one in members])
        if isinstance(arguments, Scale):
            return self._changes.scale(inspected, arguments, deadline)
        if isinstance(arguments, Update):
            return self._changes.update(members, arguments, deadline)
        if isinstance(arguments, Configure):
            return self._changes.configure(inspected, arguments)
        if name == "container.reclaim":
            return self._reclaiming.reclaim(deadline)
        return self._changes.deploy(inspected, cast(Deploy | Recreate, arguments))

    def _refuse(self, binding: DockerBinding, members: Sequence[Reference]) -> None:
        """Raises CallError for what does not exist and for what is UICI itself."""
        if not members:
            raise self._lookup.missing(binding)
        self._refuse_own(members)

    def _refuse_own(self, members: Sequence[Reference]) -> None:
        for member in members:
            self._guard.check_container(member.id, member.name)

    def _first_running(self, arguments: OnTarget, deadline: Deadline) -> Facts:
        running = [one for one in self._lookup.members(arguments.target, deadline) if one.state == "running"]
        if not running:
            raise CallError(
                FailureKind.PERMANENT,
                "not_running",
                f"{arguments.target} does not run on {self._engine.where}; start it first",
            )
        return running[0]

    def _look(self, name: str, arguments: OnTarget, deadline: Deadline) -> JsonObject:
        """Calls that change nothing."""
        if isinstance(arguments, ListAll):
            return services_of(self._lookup, arguments, deadline)
        if isinstance(arguments, Diagnose):
            return self._diagnosed(arguments, deadline)
        if name == "container.backend":
            backend = haproxy.backend_of(arguments.target.backend, arguments.target)
            return haproxy.look(backend).document(backend)
        if not isinstance(arguments, Snapshot):
            return self._read(name, arguments, deadline)
        logs = Logs(target=arguments.target, lines=arguments.lines)
        looks: dict[str, Callable[[], JsonValue]] = {
            "status": lambda: self._read("container.status", arguments, deadline),
            "health": lambda: self._read("container.health", arguments, deadline),
            "logs": lambda: self._read("container.logs", logs, deadline),
            "description": lambda: self._read("container.describe", arguments, deadline),
            "resources": lambda: self._read("container.usage", arguments, deadline),
        }
        return snapshot_of(self._engine, self._lookup, arguments, looks, deadline)

    def _diagnosed(self, arguments: Diagnose, deadline: Deadline) -> JsonObject:
        binding, limits = arguments.target, self._engine.settings.limits
        argv = argv_of(binding.diagnostics, arguments.diagnostic, binding)
        # What it runs is somebody's choice, not surely a look: never inside UICI itself.
        self._guard.check_binding(binding)
        self._refuse(binding, self._lookup.references(binding, deadline))
        first = self._first_running(arguments, deadline)
        output = self._execution.diagnose(first.id, first.name, argv, limits)
        if arguments.must_succeed and output.exit_code != 0:
            raise unsuccessful(output, arguments.diagnostic, binding)
        return output.document(arguments.diagnostic, first.name, limits)

    def _read(self, name: str, arguments: OnTarget, deadline: Deadline) -> JsonObject:
        binding = arguments.target
        members = [self._told_apart(one, deadline) for one in self._lookup.members(binding, deadline)]
        status = status_of(members, max(1, len(members)))
        if name == "container.status":
            return status
        if name == "container.health":
            return _health(binding, members, status)
        if not members:
            raise self._lookup.missing(binding)
        if isinstance(arguments, Logs):
            return logs_of(self._engine, [(one.id, one.name) for one in members], arguments.lines, deadline)
        if name == "container.usage":
            running = [one.id for one in members if one.pid is not None]
            return self._samples.usage_of(running, deadline)
        return self._described(members, status)

    def _told_apart(self, facts: Facts, deadline: Deadline) -> Facts:
        """`stopped` instead of `exited` for what was stopped on request; costs one request for what has ended."""
        if facts.state == "exited" and not facts.oom_killed and self._lookup.was_stopped(facts):
            return replace(facts, state="stopped")
        return facts

    def _described(self, members: Sequence[Facts], status: JsonObject) -> JsonObject:
        first = members[0]
        cpus, memory = self._engine.totals()
        previous = first.labels.get(LABEL_PREVIOUS_IMAGE)
        return {
            "configuration": {
                "image": first.image,
                "version": first.version,
                "replicas": len(members),
                # A limit as high as the machine is how no limit is written again once there was one.
                "cpus": first.nano_cpus / 1e9 if 0 < first.nano_cpus < cpus * 1_000_000_000 else None,
                "memory_bytes": first.memory if 0 < first.memory < memory else None,
                "environment": dict(first.environment),
                "command": list(first.command),
            },
            "previous_version": (tag_of(previous) or previous) if previous else None,
            "deployed_at": first.labels.get(LABEL_DEPLOYED_AT),
            "deployment": deployment_of(first),
            "status": status,
        }


def _health(binding: DockerBinding, members: Sequence[Facts], status: JsonObject) -> JsonObject:
    checks: list[JsonObject] = []
    if not members:
        checks.append({"name": "exists", "ok": False, "detail": f"{binding} does not exist"})
    for one in members:
        running = one.state == "running"
        ended = "" if one.exit_code is None else f", exit code {one.exit_code}"
        checks.append({"name": f"{one.name} runs", "ok": running, "detail": f"{one.state}{ended}"})
        if one.health != "none":
            detail = one.health + (f": {one.health_output}" if one.health != "healthy" and one.health_output else "")
            checks.append({"name": f"{one.name} health check", "ok": one.health == "healthy", "detail": detail})
    if binding.health is not None and all(check["ok"] for check in checks):
        # Asked last: what does not run cannot answer, and the wait for it would only cost time.
        checks.append(dict(run_probe(binding.health)))
    return {"healthy": all(check["ok"] for check in checks), "state": status["state"], "checks": checks}
