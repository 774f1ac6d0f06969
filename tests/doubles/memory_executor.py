"""An executor over services that live in memory: the calls of the platform `local`, without any process.

The world is what a platform would be: it outlives the application, counts what was really done to it, and can be
told to fail, to be slow, or to lose an answer, by a hook that every call goes through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from executors.local import LocalExecutor
from uici.model.base import Frozen, JsonObject
from uici.model.call import Call, CallError, CallSpec, FailureKind, Happened, Risk
from uici.model.checkup import ok
from uici.model.grants import Account
from uici.model.rehearsal import Rehearsal
from uici.ports import ConnectionReport, Executor, ExecutorContext

BAD = "bad"
"""A version that runs and is never healthy."""


@dataclass
class Service:
    """One service of the world."""

    state: str = "exited"
    healthy_when_running: bool = True
    replicas: int = 1
    version: str = "good"
    environment: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    exit_code: int | None = 1

    @property
    def healthy(self) -> bool:
        return self.state == "running" and self.healthy_when_running and self.version != BAD


Hook = Callable[[str, str, Call], None]
"""(moment, environment, call): before `perform` acts, `after` it acted, before a `proof`. It may block, or raise."""


class World:
    """Services by (environment, program), and everything that was done to them."""

    def __init__(self) -> None:
        self.services: dict[tuple[str, str], Service] = {}
        self.done: list[tuple[str, str]] = []
        """(call, program) of every change, in order."""
        self.hook: Hook = lambda moment, environment, call: None
        self.found: tuple[JsonObject, ...] = ()
        self.unfindable: CallError | None = None
        """What a look-up raises instead of answering."""
        self.rehearsal: Callable[[Call], Rehearsal | None] | None = None
        """What this platform says of a call that it is only asked about; None where it cannot be asked."""
        self.lock = threading.Lock()

    def executor_class(self) -> type[Executor]:
        """An executor's class for `Application(executors=...)`."""
        world = self

        class MemoryExecutor(_MemoryExecutor):
            def __init__(self, context: ExecutorContext) -> None:
                super().__init__(context, world)

        return MemoryExecutor

    def service(self, program: str, environment: str = "local") -> Service:
        """The service of this name; made when first asked for."""
        with self.lock:
            return self.services.setdefault((environment, program), Service())

    def changes(self, program: str) -> list[str]:
        """The calls that changed this service, in order."""
        with self.lock:
            return [call for call, name in self.done if name == program]


class _MemoryExecutor:
    platform: ClassVar[str] = "local"
    call_specs: ClassVar[Mapping[str, CallSpec]] = LocalExecutor.call_specs
    settings_model: ClassVar[type[Frozen]] = LocalExecutor.settings_model
    binding_model: ClassVar[type[Frozen]] = LocalExecutor.binding_model

    def __init__(self, context: ExecutorContext, world: World) -> None:
        self._environment = context.environment
        self._world = world

    @classmethod
    def classify(cls, name: str, arguments: JsonObject) -> tuple[bool, Risk]:
        return LocalExecutor.classify(name, arguments)

    @classmethod
    def grants(cls, calls: Iterable[tuple[str, JsonObject]], account: Account) -> None:
        return None

    @property
    def rehearses(self) -> bool:
        return self._world.rehearsal is not None

    def perform(self, call: Call) -> JsonObject:
        if call.name not in self.call_specs:
            raise CallError(FailureKind.PERMANENT, "unknown_call", f"no call {call.name}")
        self._world.hook("perform", self._environment, call)
        service = self._service(call)
        with self._world.lock:
            result: JsonObject = _CALLS[call.name.partition(".")[2]](service, call.arguments)
            if call.mutates:
                self._world.done.append((call.name, call.arguments["target"]["program"]))
        self._world.hook("after", self._environment, call)
        return result

    def before(self, call: Call) -> JsonObject:
        self._world.hook("before", self._environment, call)
        return {"starts": self._service(call).starts} if call.provable else {}

    def happened(self, call: Call, before: JsonObject) -> Happened:
        self._world.hook("proof", self._environment, call)
        if not before:
            return Happened.UNKNOWN
        return Happened.YES if self._service(call).starts > before["starts"] else Happened.NO

    def rehearse(self, call: Call) -> Rehearsal | None:
        return None if self._world.rehearsal is None else self._world.rehearsal(call)

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        if self._world.unfindable is not None:
            raise self._world.unfindable
        return self._world.found

    def check(self) -> ConnectionReport:
        return ConnectionReport(ok=True, detail="memory", checks=(ok("memory", "all in this process"),))

    def close(self) -> None:
        pass

    def _service(self, call: Call) -> Service:
        return self._world.service(call.arguments["target"]["program"], self._environment)


def _status(service: Service, arguments: JsonObject) -> JsonObject:
    running = service.replicas if service.state == "running" else 0
    return {
        "state": service.state,
        "desired": service.replicas,
        "running": running,
        "instances": [],
        "exit_code": None if running else service.exit_code,
        "oom_killed": False,
        "restart_count": 0,
        "started_at": None,
        "version": service.version,
        "health": "none",
    }


def _health(service: Service, arguments: JsonObject) -> JsonObject:
    checks = [] if service.healthy else [{"name": "probe", "ok": False, "detail": f"state {service.state}"}]
    return {"healthy": service.healthy, "state": service.state, "checks": checks}


def _describe(service: Service, arguments: JsonObject) -> JsonObject:
    configuration: JsonObject = {
        "image": None,
        "version": service.version,
        "replicas": service.replicas,
        "cpus": None,
        "memory_bytes": None,
        "environment": dict(service.environment),
        "command": [],
    }
    status = _status(service, arguments)
    return {
        "configuration": configuration,
        "previous_version": None,
        "deployed_at": None,
        "deployment": {},
        "status": status,
    }


def _logs(service: Service, arguments: JsonObject) -> JsonObject:
    return {"lines": [], "truncated": False}


def _usage(service: Service, arguments: JsonObject) -> JsonObject:
    return {"cpu_percent": 0, "memory_bytes": 1, "memory_limit_bytes": None, "memory_percent": None, "processes": 1}


def _start(service: Service, arguments: JsonObject) -> JsonObject:
    service.starts += 1
    service.state = "running"
    return {"changed": True, "instances": []}


def _stop(service: Service, arguments: JsonObject) -> JsonObject:
    service.starts += 1
    service.state = "stopped"
    return {"changed": True, "instances": []}


def _scale(service: Service, arguments: JsonObject) -> JsonObject:
    previous, service.replicas = service.replicas, arguments["replicas"]
    return {"changed": True, "instances": [], "replicas": service.replicas, "previous_replicas": previous}


def _deploy(service: Service, arguments: JsonObject) -> JsonObject:
    service.version = arguments["version"]
    return {**_start(service, arguments), "version": service.version}


def _configure(service: Service, arguments: JsonObject) -> JsonObject:
    service.environment |= arguments.get("environment", {})
    for name in arguments.get("remove", []):
        service.environment.pop(name, None)
    return _start(service, arguments)


def _snapshot(service: Service, arguments: JsonObject) -> JsonObject:
    looks = {"status": _status, "health": _health, "logs": _logs, "description": _describe, "resources": _usage}
    sections: JsonObject = {name: look(service, arguments) for name, look in looks.items()}
    return sections | {"processes": [], "details": {}, "taken_at": "2026-01-01T00:00:00+00:00", "truncated": False}


_CALLS: dict[str, Callable[[Service, JsonObject], Any]] = {
    "status": _status,
    "health": _health,
    "describe": _describe,
    "logs": _logs,
    "usage": _usage,
    "snapshot": _snapshot,
    "start": _start,
    "stop": _stop,
    "restart": _start,
    "scale": _scale,
    "configure": _configure,
    "deploy": _deploy,
}
