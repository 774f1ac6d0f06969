"""The calls that this executor publishes; importable without supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from executors.arguments import call_named
from executors.diagnostics import DIAGNOSE_RETURNS
from executors.haproxy import MAX_WEIGHT, SET_RETURNS, STATE_RETURNS, Traffic
from executors.local.possible import refuse_impossible
from executors.local.settings import MAX_REPLICAS, VARIABLE_PATTERN
from executors.snapshot import SNAPSHOT_RETURNS
from uici.model.base import JsonObject
from uici.model.call import CallSpec, Risk

OPEN_CALL = "supervisor.rpc"

_TARGET: JsonObject = {"type": "object", "description": "the target's whole binding"}
_INSTANCES = {"changed": "whether anything was changed", "instances": "ids of the instances acted on"}

# A stop may take its grace time (60 s at most) and a program its time to settle.
_CHANGE_TIMEOUT = 150.0
# Requests that supervisord has read but not yet carried out; a stop under way is waited for by the proof itself.
_IN_FLIGHT = 3.0


def _schema(**properties: JsonObject) -> JsonObject:
    required = ["target", *(name for name, schema in properties.items() if "default" not in schema)]
    # None has no meaning here: an argument that is not given is absent.
    properties = {
        name: {key: value for key, value in schema.items() if (key, value) != ("default", None)}
        for name, schema in properties.items()
    }
    return {
        "type": "object",
        "properties": {"target": _TARGET, **properties},
        "required": required,
        "additionalProperties": False,
    }


def _read(
    name: str, summary: str, returns: dict[str, str], timeout: float = 15.0, **properties: JsonObject
) -> CallSpec:
    return CallSpec(
        name=name,
        summary=summary,
        arguments=_schema(**properties),
        returns=returns,
        mutates=False,
        risk=Risk.LOW,
        timeout_seconds=timeout,
        in_flight_seconds=_IN_FLIGHT,
    )


def _change(
    name: str, summary: str, risk: Risk, returns: dict[str, str] | None = None, **properties: JsonObject
) -> CallSpec:
    return CallSpec(
        name=name,
        summary=summary,
        arguments=_schema(**properties),
        returns=returns or _INSTANCES,
        mutates=True,
        risk=risk,
        provable=True,
        timeout_seconds=_CHANGE_TIMEOUT,
        in_flight_seconds=_IN_FLIGHT,
    )


_STATUS = {
    "state": "running, starting, stopped, exited, failed, or missing; the worst instance's when some run",
    "desired": "how many instances there should be",
    "running": "how many run",
    "instances": "id, name, state, exit_code, started_at, pid of each",
    "exit_code": "of the worst instance; 128 + the signal's number when a signal ended it; null while unknown",
    "oom_killed": "always false: supervisord cannot tell who sent SIGKILL",
    "restart_count": "always 0: supervisord restarts nothing by itself here",
    "started_at": "of the instance started last",
    "version": "the deployed version's name",
    "health": "always none: supervisord has no health check",
}

_SPECS = (
    _read("program.status", "State of a program and its instances", _STATUS),
    _read(
        "program.health",
        "Whether all instances run and the binding's probe passes",
        {"healthy": "the answer", "state": "as program.status", "checks": "name, ok, detail of each check"},
        timeout=75.0,
    ),
    _read(
        "program.logs",
        "The last lines of a program's output",
        {
            "lines": "newest last; with several instances each line begins with its [id]",
            "truncated": "older lines exist",
        },
        lines={"type": "integer", "minimum": 1, "maximum": 10000, "default": 200},
    ),
    _read(
        "program.usage",
        "What the processes of a program use now",
        {
            "cpu_percent": "100 = one core, over about 100 ms",
            "memory_bytes": "resident memory of the process tree",
            "memory_limit_bytes": "always null",
            "memory_percent": "always null",
            "processes": "how many",
        },
    ),
    _read(
        "program.describe",
        "Configuration and status of a program",
        {
            "configuration": "version, replicas, environment, command",
            "previous_version": "what program.rollback would deploy",
            "deployed_at": "when the version was deployed",
            "deployment": "what program.deploy takes as `record` to bring exactly this back",
            "status": "as program.status",
        },
    ),
    _read(
        "program.list",
        "The programs of this supervisord",
        {
            "services": "id, name, state and version of each, by name; image is always null",
            "total": "how many there are, of the wanted state when one was given",
            "running": "how many of them run",
            "truncated": "whether there are more than are listed",
        },
        state={
            "enum": [
                "running",
                "starting",
                "stopped",
                "exited",
                "failed",
                "paused",
                "restarting",
                "missing",
                "unknown",
            ],
            "default": None,
        },
        limit={"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    ),
    _read(
        "program.diagnose",
        "Run one of the binding's diagnostics in the program's folder",
        DIAGNOSE_RETURNS,
        timeout=330.0,
        diagnostic={"type": "string", "maxLength": 63, "description": "the name of one of the binding's `diagnostics`"},
        must_succeed={
            "type": "boolean",
            "default": False,
            "description": "an exit code other than 0 is a failure of the call",
        },
    ),
    _read(
        "program.snapshot",
        "Everything that can be seen of the program at once, masked; what cannot be seen says why",
        SNAPSHOT_RETURNS,
        timeout=150.0,
        lines={"type": "integer", "minimum": 1, "maximum": 2000, "default": 200},
    ),
    _read("program.backend", "The state of the binding's server at its load balancer", STATE_RETURNS, timeout=130.0),
    _change(
        "program.set_backend",
        "Give the binding's server at its load balancer traffic, no new sessions, or none",
        Risk.MEDIUM,
        SET_RETURNS,
        state={"enum": [state.value for state in Traffic]},
        weight={"type": "integer", "minimum": 0, "maximum": MAX_WEIGHT, "default": None},
    ),
    _change(
        "program.reclaim",
        "Delete old files under the folders that the binding's `reclaim` names",
        Risk.HIGH,
        {
            "reclaimed_bytes": "room that became free, as far as no process still holds a deleted file open",
            "removed": "how many files went",
            "failed": "how many could not be deleted",
        },
    ),
    _change("program.start", "Start the instances that do not run", Risk.LOW),
    _change("program.stop", "Stop all instances", Risk.HIGH),
    _change("program.restart", "Stop and start every instance", Risk.MEDIUM),
    _change(
        "program.scale",
        "Change the number of instances",
        Risk.MEDIUM,
        {**_INSTANCES, "replicas": "the new number", "previous_replicas": "the number before"},
        replicas={"type": "integer", "minimum": 0, "maximum": MAX_REPLICAS},
    ),
    _change(
        "program.configure",
        "Set and remove environment variables; what runs is restarted with them",
        Risk.MEDIUM,
        environment={
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 131072},
            "propertyNames": {"pattern": VARIABLE_PATTERN},
            "default": {},
        },
        remove={
            "type": "array",
            "items": {"type": "string", "pattern": VARIABLE_PATTERN},
            "maxItems": 1000,
            "default": [],
        },
    ),
    _change(
        "program.deploy",
        "Run another of the binding's versions; when it does not start, the former one is restored",
        Risk.HIGH,
        {**_INSTANCES, "version": "the version that runs now", "previous_version": "the one before"},
        version={"type": "string", "minLength": 1, "maxLength": 200},
        record={
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 4096},
            "maxProperties": 10,
            "default": None,
            "description": "program.describe's `deployment`: what was known of earlier versions comes back with it",
        },
    ),
    _change(
        "program.rollback",
        "Run the version that was deployed before the present one",
        Risk.HIGH,
        {**_INSTANCES, "version": "the version that runs now", "previous_version": "the one before"},
    ),
    CallSpec(
        name=OPEN_CALL,
        summary="Any method of supervisord's XML-RPC interface",
        arguments={
            "type": "object",
            "properties": {
                "target": _TARGET,
                "method": {
                    "type": "string",
                    "pattern": r"^[A-Za-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9]*)?$",
                    "maxLength": 200,
                    "description": "for example getProcessInfo; without a namespace `supervisor.` is meant",
                },
                "params": {"type": "array", "maxItems": 100, "default": []},
            },
            "required": ["method"],
            "additionalProperties": False,
        },
        returns={"result": "supervisord's answer"},
        mutates=True,
        risk=Risk.HIGH,
        open=True,
        timeout_seconds=75.0,
        in_flight_seconds=75.0,
    ),
)

CALL_SPECS: Mapping[str, CallSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})

_READING_METHODS = frozenset(
    {
        "supervisor.getAPIVersion",
        "supervisor.getVersion",
        "supervisor.getSupervisorVersion",
        "supervisor.getIdentification",
        "supervisor.getState",
        "supervisor.getPID",
        "supervisor.getProcessInfo",
        "supervisor.getAllProcessInfo",
        "supervisor.getAllConfigInfo",
        "supervisor.readLog",
        "supervisor.readMainLog",
        "supervisor.readProcessLog",
        "supervisor.readProcessStdoutLog",
        "supervisor.readProcessStderrLog",
        "supervisor.tailProcessLog",
        "supervisor.tailProcessStdoutLog",
        "supervisor.tailProcessStderrLog",
        "system.listMethods",
        "system.methodHelp",
        "system.methodSignature",
    }
)


def full_method(method: str) -> str:
    """`getState` and `supervisor.getState` are one method."""
    return method if "." in method else f"supervisor.{method}"


def classify(name: str, arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether the call mutates, and its risk.

    Raises CallError for a name that is not published, and for what its target's binding says cannot work.
    """
    spec = spec_of(name)
    method = arguments.get("method")
    if spec.open and isinstance(method, str) and full_method(method) in _READING_METHODS:
        return False, Risk.LOW
    refuse_impossible(name, arguments)
    return spec.mutates, spec.risk


def spec_of(name: str) -> CallSpec:
    """The published specification. Raises CallError(PERMANENT, `unknown_call`)."""
    return call_named("local", CALL_SPECS, name)
