"""The calls that this executor publishes; importable without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from executors.arguments import call_named, schemas_of
from executors.diagnostics import DIAGNOSE_RETURNS
from executors.oci.arguments import ARGUMENTS, OPEN_CALL
from executors.oci.balancer import SET_RETURNS, STATE_RETURNS
from executors.oci.possible import refuse_impossible
from executors.snapshot import SNAPSHOT_RETURNS
from uici.model.base import JsonObject
from uici.model.call import CallSpec, Risk

_IN_FLIGHT = 60.0
"""A request that was accepted is work that can be seen; this is how long one may still be on its way."""

_READING = ("get_", "list_", "summarize_", "search_", "head_")
_NOT_READING = frozenset(
    {
        "get_messages",  # a queue hides what it has given, and a stream's group moves on
        "get_path_analysis",  # begins an analysis
        "summarize_text",  # asks a model, which costs
    }
)
_DESTROYING = ("delete_", "terminate_", "bulk_delete_", "purge_", "schedule_", "cancel_scheduled_", "remove_")

_INSTANCES = {"changed": "whether anything was changed", "instances": "OCIDs of what was acted on"}
_VERSION = {"image": "the image that runs now", "version": "its tag", "previous_image": "the image before"}
_STATUS = {
    "state": "running, starting, stopped, exited, failed, restarting or missing; the worst one's",
    "desired": "how many there should be: a pool's size, else how many there are",
    "running": "how many run",
    "instances": "id (OCID), name, state, exit_code, started_at of each; pid is null, the services show none",
    "exit_code": "of the worst container; null while it runs",
    "oom_killed": "whether the service says that memory ran out",
    "restart_count": "restarts by the container restart policy",
    "started_at": "of the one started last, as far as the service tells",
    "version": "the image's tag",
    "health": "of the container's own health checks: healthy, unhealthy, starting, or none",
}

_SCHEMAS = schemas_of(ARGUMENTS.values())


def _spec(
    name: str,
    summary: str,
    returns: dict[str, str],
    *,
    risk: Risk = Risk.LOW,
    mutates: bool = True,
    timeout: float = 600.0,
    in_flight: float = _IN_FLIGHT,
) -> CallSpec:
    is_open = name == OPEN_CALL
    return CallSpec(
        name=name,
        summary=summary,
        arguments=_SCHEMAS[ARGUMENTS[name]],
        returns=returns,
        mutates=mutates,
        risk=risk,
        timeout_seconds=timeout,
        in_flight_seconds=in_flight,
        provable=mutates and not is_open,
        open=is_open,
    )


_SPECS = (
    _spec("oci.status", "State of what the binding means", _STATUS, mutates=False, timeout=60),
    _spec(
        "oci.health",
        "Whether all run, their health checks pass and the binding's probe passes",
        {"healthy": "the answer", "state": "as oci.status", "checks": "name, ok, detail of each check"},
        mutates=False,
        timeout=120,
    ),
    _spec(
        "oci.logs",
        "The last lines: of the container, of the Logging service, or of the console",
        {"lines": "newest last, each cut at 4096 characters", "truncated": "older lines exist"},
        mutates=False,
        timeout=120,
    ),
    _spec(
        "oci.usage",
        "What they use, as the Monitoring service has it of the last minutes",
        {
            "cpu_percent": "100 = one OCPU",
            "memory_bytes": "in use",
            "memory_limit_bytes": "the shape's memory",
            "memory_percent": "of it",
            "processes": "null: the service does not tell",
        },
        mutates=False,
        timeout=60,
    ),
    _spec(
        "oci.describe",
        "Configuration and status",
        {
            "configuration": "image, version, replicas, cpus, memory_bytes, environment, command",
            "previous_version": "what oci.rollback would deploy",
            "deployed_at": "when oci.deploy or oci.rollback last changed the image",
            "deployment": "what oci.deploy takes as `record` to bring exactly this back",
            "status": "as oci.status",
        },
        mutates=False,
        timeout=60,
    ),
    _spec(
        "oci.list",
        "Container instances and compute instances of the target's compartment",
        {
            "services": "id, name, state, image and version of each, by name",
            "total": "how many there are, of the wanted state when one was given",
            "running": "how many of them run",
            "truncated": "whether there are more than are listed",
        },
        mutates=False,
        timeout=60,
    ),
    _spec(
        "oci.diagnose",
        "Run one of the binding's diagnostics on a compute instance, by Run Command",
        DIAGNOSE_RETURNS,
        mutates=False,
        timeout=420,
    ),
    _spec(
        "oci.snapshot",
        "Everything that can be seen at once, masked; what cannot be seen says why",
        SNAPSHOT_RETURNS,
        mutates=False,
        timeout=240,
    ),
    _spec(
        "oci.backend",
        "The state of the binding's backend at its load balancer",
        STATE_RETURNS,
        mutates=False,
        timeout=60,
    ),
    _spec(
        "oci.set_backend",
        "Give the binding's backend at its load balancer traffic, no new connections, or none",
        SET_RETURNS,
        risk=Risk.MEDIUM,
    ),
    _spec("oci.start", "Start what does not run", _INSTANCES),
    _spec("oci.stop", "Stop what runs", _INSTANCES, risk=Risk.HIGH),
    _spec("oci.restart", "Restart, one after another", _INSTANCES, risk=Risk.MEDIUM),
    _spec(
        "oci.scale",
        "Change a pool's size, or the number of a group's container instances",
        {**_INSTANCES, "replicas": "the new number", "previous_replicas": "the number before"},
        risk=Risk.MEDIUM,
        timeout=1800,
    ),
    _spec(
        "oci.update",
        "Change the size of the shape, or a function's memory; a container instance is replaced, an instance restarted",
        {**_INSTANCES, "cpus": "the new number of OCPUs", "memory_bytes": "the new memory"},
        risk=Risk.MEDIUM,
        timeout=1800,
    ),
    _spec(
        "oci.configure",
        "Set and remove environment variables, by replacing the container instance; or a function's configuration",
        _INSTANCES,
        risk=Risk.MEDIUM,
        timeout=1800,
    ),
    _spec(
        "oci.deploy",
        "Run another image, by replacing the container instance; the old one returns when the new one fails",
        {**_INSTANCES, **_VERSION},
        risk=Risk.HIGH,
        timeout=1800,
    ),
    _spec(
        "oci.rollback",
        "Run the image that was deployed before the present one",
        {**_INSTANCES, **_VERSION},
        risk=Risk.HIGH,
        timeout=1800,
    ),
    _spec(
        OPEN_CALL,
        "Any method of any client of the SDK",
        {
            "status": "the HTTP status",
            "body": "the answer, with the SDK's field names",
            "etag": "for a later if_match; null without one",
            "work_request": "OCID of the work that goes on; null without any",
            "next_page": "for `page`; null at the end",
            "request_id": "opc-request-id",
        },
        risk=Risk.DESTRUCTIVE,
        timeout=120,
    ),
)

CALL_SPECS: Mapping[str, CallSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})


def spec_of(name: str) -> CallSpec:
    """The published specification. Raises CallError(PERMANENT, `unknown_call`)."""
    return call_named("oci", CALL_SPECS, name)


def classify(name: str, arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether the call mutates, and its risk; an open call by its operation's name.

    Raises CallError as `spec_of`, and for what the target's binding says cannot work.
    """
    spec = spec_of(name)
    if not spec.open:
        refuse_impossible(name, arguments)
        return spec.mutates, spec.risk
    operation = arguments.get("operation")
    if not isinstance(operation, str):
        return spec.mutates, spec.risk
    if operation.startswith(_READING) and operation not in _NOT_READING:
        return False, Risk.LOW
    return True, spec.risk if operation.startswith(_DESTROYING) else Risk.HIGH
