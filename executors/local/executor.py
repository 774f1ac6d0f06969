"""The executor of the platform `local`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from executors import haproxy
from executors.diagnostics import argv_of, unsuccessful
from executors.local import beside, calls, checkup, proofs
from executors.local.beside import Beside
from executors.local.changes import ProgramChanges
from executors.local.diagnosing import diagnose
from executors.local.looking import services_of, snapshot_of
from executors.local.observe import Instance, not_found, observe, status_document, usage_document
from executors.local.program import ProgramFiles, Specification
from executors.local.reclaiming import Kept
from executors.local.selfguard import SelfGuard
from executors.local.settings import LocalBinding, LocalSettings, Variables
from executors.local.supervisor import Supervisor
from executors.probes import ProbeResult, run_probe
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import Call, CallError, CallSpec, FailureKind, Happened, Risk
from uici.model.grants import Account
from uici.ports import ConnectionReport, ExecutorContext

_LINE_LIMIT = 4096
_VARIABLES: TypeAdapter[Variables] = TypeAdapter(Variables)
_PROGRAM_LABELS = ("program", "process", "process_name", "name", "group")


class LocalExecutor:
    """Processes of this machine under a supervisord. See `uici.ports.Executor`."""

    platform: ClassVar[str] = "local"
    call_specs: ClassVar[Mapping[str, CallSpec]] = calls.CALL_SPECS
    settings_model: ClassVar[type[Frozen]] = LocalSettings
    binding_model: ClassVar[type[Frozen]] = LocalBinding
    rehearses: ClassVar[bool] = False

    def __init__(self, context: ExecutorContext) -> None:
        """No I/O; raises pydantic.ValidationError for settings that are not LocalSettings."""
        self._context = context
        self._settings = LocalSettings.model_validate(context.settings)
        self._guard = SelfGuard(context.whole_identity, context.layers)
        self._opening = threading.Lock()
        self._opened: tuple[ProgramFiles, Supervisor] | None = None

    @classmethod
    def classify(cls, name: str, arguments: JsonObject) -> tuple[bool, Risk]:
        """Reads of supervisord's interface are low; everything else of the open call is high and mutates."""
        return calls.classify(name, arguments)

    @classmethod
    def grants(cls, calls: Iterable[tuple[str, JsonObject]], account: Account) -> None:
        """The operating system's own rights hold."""

    def perform(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.perform`."""
        spec = _validated(call)
        deadline = time.monotonic() + call.timeout_seconds
        mutates, _ = calls.classify(call.name, call.arguments)
        try:
            if spec.open:
                return self._rpc(call, mutates)
            binding = _binding(call.arguments["target"])
            if mutates:
                return self._change(call.name, binding, call.arguments, deadline)
            return self._read(call.name, binding, call.arguments)
        except CallError as error:
            if error.kind is FailureKind.UNKNOWN and not mutates:
                raise _asked_only(error) from None
            raise
        except OSError as error:
            raise CallError(
                FailureKind.UNKNOWN if mutates else FailureKind.TEMPORARY,
                "files_failed",
                f"{call.name}: {error.strerror or type(error).__name__} {error.filename or ''}".rstrip(),
            ) from None

    def before(self, call: Call) -> JsonObject:
        """See `uici.ports.Executor.before`."""
        spec = _validated(call)
        if not spec.provable:
            return {}
        binding = _binding(call.arguments["target"])
        if call.name in beside.NAMES:
            return self._beside().before(call.name, binding)
        installed, specification = self._specification(binding)
        if specification is None:
            raise not_found(binding.program)
        return proofs.remember(specification, installed is not None, self._observe(specification))

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """See `uici.ports.Executor.happened`. Waits for a stop under way, at most the binding's stop_seconds."""
        spec = _validated(call)
        if not spec.provable:
            return Happened.UNKNOWN
        binding = _binding(call.arguments["target"])
        if call.name in beside.NAMES:
            return self._beside().happened(call.name, binding, call.arguments, before)
        _, specification = self._specification(binding)
        if specification is None:
            return Happened.UNKNOWN
        found = specification
        instances = proofs.at_rest(lambda: self._observe(found), found.binding.stop_seconds)
        return proofs.prove(call.name, call.arguments, before, found, instances)

    def rehearse(self, call: Call) -> None:
        """Supervisord knows no dry run."""

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """Bindings of installed programs that the labels name, by program or by instance."""
        files, _ = self._open()
        found = []
        for program in files.installed():
            specification = files.read(program)
            names = {program, *(specification.instances if specification else ())}
            if any(labels.get(label) in names for label in _PROGRAM_LABELS):
                found.append({"program": program})
        return tuple(found)

    def check(self) -> ConnectionReport:
        """See `uici.ports.Executor.check`."""
        return checkup.report(self._open, self._settings)

    def close(self) -> None:
        """Nothing is held open between calls; supervisord and the services keep running."""

    def _open(self) -> tuple[ProgramFiles, Supervisor]:
        with self._opening:
            if self._opened is None:
                directory = self._settings.directory
                if not directory and self._context.state_directory:
                    directory = str(Path(self._context.state_directory) / "supervisor")
                if not directory:
                    raise CallError(
                        FailureKind.PERMANENT,
                        "bad_directory",
                        f"environment {self._context.environment!r} has neither a directory nor a state directory",
                    )
                files = ProgramFiles(Path(directory).absolute(), self._settings.log_megabytes)
                self._opened = files, Supervisor(files, self._settings)
            return self._opened

    def _specification(self, binding: LocalBinding) -> tuple[Specification | None, Specification | None]:
        """The installed specification, and what is in force: that, or what the binding would install."""
        files, _ = self._open()
        installed = files.read(binding.program)
        if installed is not None:
            return installed, installed
        return None, Specification.initial(binding) if binding.command else None

    def _observe(self, specification: Specification) -> tuple[Instance, ...]:
        files, supervisor = self._open()
        return observe(files, supervisor, specification.instances, manage=self._settings.manage)

    # --- reading ----------------------------------------------------------------------------------------------

    def _read(self, name: str, binding: LocalBinding, arguments: JsonObject) -> JsonObject:
        files, supervisor = self._open()
        if name == "program.list":
            limit, manage = int(arguments.get("limit", 100)), self._settings.manage
            return services_of(files, supervisor, arguments.get("state"), limit, manage=manage)
        if name == "program.backend":
            backend = beside.backend_of(binding)
            return haproxy.look(backend).document(backend)
        if name == "program.diagnose":
            return self._diagnosed(binding, arguments)
        _, specification = self._specification(binding)
        if name == "program.snapshot":
            return self._snapshot(binding, specification, int(arguments.get("lines", 200)))
        instances = self._observe(specification) if specification else ()
        status = status_document(specification, instances)
        if name == "program.status":
            return status
        if name == "program.health":
            return _health(binding, status)
        if specification is None:
            raise not_found(binding.program)
        if name == "program.logs":
            return self._logs(specification, int(arguments.get("lines", 200)))
        if name == "program.usage":
            return usage_document(instances)
        return {
            "configuration": {
                "image": None,
                "version": specification.version,
                "replicas": specification.replicas,
                "cpus": None,
                "memory_bytes": None,
                "environment": specification.launch.environment,
                "command": list(specification.launch.command),
            },
            "previous_version": specification.previous_version,
            "deployed_at": specification.deployed_at,
            "deployment": specification.deployment,
            "status": status,
        }

    def _snapshot(self, binding: LocalBinding, specification: Specification | None, lines: int) -> JsonObject:
        looks: dict[str, Callable[[], JsonValue]] = {
            "status": lambda: self._read("program.status", binding, {}),
            "health": lambda: self._read("program.health", binding, {}),
            "logs": lambda: self._read("program.logs", binding, {"lines": lines}),
            "description": lambda: self._read("program.describe", binding, {}),
            "resources": lambda: self._read("program.usage", binding, {}),
        }
        return snapshot_of(
            binding.program,
            specification,
            lambda: self._observe(specification) if specification else (),
            looks,
            self._settings.limits.snapshot_bytes,
        )

    def _diagnosed(self, binding: LocalBinding, arguments: JsonObject) -> JsonObject:
        name, what, limits = arguments["diagnostic"], f"program {binding.program!r}", self._settings.limits
        argv = argv_of(binding.diagnostics, name, what)
        # What it runs is somebody's choice, not surely a look: never for UICI itself.
        specification = self._refuse_self(binding)
        self._guard.check_texts(argv)
        output = diagnose(argv, specification.launch.directory, limits)
        if arguments.get("must_succeed") and output.exit_code != 0:
            raise unsuccessful(output, name, what)
        return output.document(name, None, limits)

    def _refuse_self(self, binding: LocalBinding) -> Specification:
        """The program's specification. Raises CallError for what does not exist and for what is UICI itself."""
        _, specification = self._specification(binding)
        if specification is None:
            raise not_found(binding.program)
        pids = [instance.pid for instance in self._observe(specification) if instance.pid is not None]
        self._guard.check_program(binding.program, specification.instances, pids)
        return specification

    def _logs(self, specification: Specification, lines: int) -> JsonObject:
        files, _ = self._open()
        several = len(specification.instances) > 1
        share = max(1, lines // max(1, len(specification.instances)))
        found: list[str] = []
        truncated = False
        for instance in specification.instances:
            tail, more = files.tail(instance, share)
            truncated = truncated or more
            found += [f"[{instance}] {line}" if several else line for line in tail]
        return {"lines": [line[:_LINE_LIMIT] for line in found[-lines:]], "truncated": truncated or len(found) > lines}

    # --- changing ---------------------------------------------------------------------------------------------

    def _change(self, name: str, binding: LocalBinding, arguments: JsonObject, deadline: float) -> JsonObject:
        files, supervisor = self._open()
        if name in beside.NAMES:
            self._refuse_self(binding)
            return self._beside().perform(name, binding, arguments, deadline)
        changes = ProgramChanges(files, supervisor, self._settings, self._guard)
        methods: dict[str, Callable[[], JsonObject]] = {
            "program.start": lambda: changes.start(binding, deadline),
            "program.stop": lambda: changes.stop(binding, deadline),
            "program.restart": lambda: changes.restart(binding, deadline),
            "program.scale": lambda: changes.scale(binding, int(arguments["replicas"]), deadline),
            "program.configure": lambda: changes.configure(
                binding, _variables(arguments.get("environment", {})), tuple(arguments.get("remove", ())), deadline
            ),
            "program.deploy": lambda: changes.deploy(binding, arguments["version"], arguments.get("record"), deadline),
            "program.rollback": lambda: changes.rollback(binding, deadline),
        }
        return methods[name]()

    def _beside(self) -> Beside:
        files, _ = self._open()
        folders = (str(files.root), self._context.state_directory)
        return Beside(Kept.of(self._context.identity.state_paths, folders))

    def _rpc(self, call: Call, mutates: bool) -> JsonObject:
        _, supervisor = self._open()
        method = calls.full_method(call.arguments["method"])
        params = list(call.arguments.get("params", []))
        if mutates:
            supervisor.ensure()
            try:
                processes = supervisor.call("supervisor.getAllProcessInfo")
                pid = int(supervisor.call("supervisor.getPID"))
            except CallError as error:
                raise _asked_only(error) from None
            self._guard.check_request(method, params, processes, pid, str(supervisor.socket))
        return {"result": supervisor.call(method, *params, answer_seconds=call.timeout_seconds)}


def _asked_only(error: CallError) -> CallError:
    """A question without an answer has changed nothing: it may be asked again."""
    kind = FailureKind.TEMPORARY if error.kind is FailureKind.UNKNOWN else error.kind
    return CallError(kind, error.code, error.message, detail=error.detail)


def _health(binding: LocalBinding, status: JsonObject) -> JsonObject:
    desired, running = status["desired"], status["running"]
    checks: list[ProbeResult] = [
        {"name": "instances", "ok": running == desired > 0, "detail": f"{running} of {desired} run"}
    ]
    if binding.health is not None and status["state"] != "missing":
        checks.append(run_probe(binding.health))
    return {"healthy": all(check["ok"] for check in checks), "state": status["state"], "checks": checks}


@lru_cache(maxsize=32)
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(calls.spec_of(name).arguments)


def _validated(call: Call) -> CallSpec:
    """The call's specification. Raises CallError(PERMANENT) for an unknown call or arguments that do not fit.

    Only places and rules are quoted: a value may be a secret.
    """
    spec = calls.spec_of(call.name)
    problems = [
        f"{'/'.join(str(part) for part in error.absolute_path)[:100] or 'arguments'}: {_rule(error.validator)}"
        for error in _validator(call.name).iter_errors(call.arguments)
    ]
    if problems:
        raise CallError(FailureKind.PERMANENT, "bad_arguments", f"{call.name}: {'; '.join(sorted(problems)[:10])}")
    return spec


def _rule(keyword: object) -> str:
    return {
        "additionalProperties": "holds a name that is not allowed",
        "required": "lacks a required name",
        "type": "has the wrong type",
        "pattern": "does not match the allowed pattern",
    }.get(str(keyword), f"breaks the rule {keyword}")


def _variables(given: JsonObject) -> Variables:
    try:
        return _VARIABLES.validate_python(given)
    except ValidationError as error:
        raise CallError(
            FailureKind.PERMANENT, "bad_arguments", f"program.configure: environment: {_problems(error)}"
        ) from None


def _binding(target: JsonObject) -> LocalBinding:
    try:
        return LocalBinding.model_validate(target)
    except ValidationError as error:
        raise CallError(
            FailureKind.PERMANENT, "bad_binding", f"the target's binding is wrong: {_problems(error)}"
        ) from None


def _problems(error: ValidationError) -> str:
    """Where and which rule; never the value, which may be a secret."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])[:100] or 'binding'}: {problem['msg'][:200]}"
        for problem in found[:10]
    )
