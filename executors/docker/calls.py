"""The calls that this executor publishes; importable without the Docker SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from executors.arguments import call_named, schemas_of
from executors.diagnostics import DIAGNOSE_RETURNS
from executors.docker.arguments import ARGUMENTS, OPEN_CALL
from executors.docker.possible import refuse_impossible
from executors.haproxy import SET_RETURNS, STATE_RETURNS
from executors.snapshot import SNAPSHOT_RETURNS
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallSpec, Risk

# A restart that asks for no longer grace than this is surely over, or never was, when the call's time in flight has
# passed; for a longer one the proof says "unknown" instead of "no".
PROVABLE_GRACE = 10.0
_IN_FLIGHT = 15.0

_INSTANCES = {"changed": "whether anything was changed", "instances": "ids of the containers acted on"}
_VERSION = {"image": "the image that runs now", "version": "its tag", "previous_image": "the image before"}
_STATUS = {
    "state": "running, starting, stopped, exited, failed, paused, restarting or missing; the worst container's",
    "desired": "how many containers there should be",
    "running": "how many run",
    "instances": "id, name, state, exit_code, started_at, pid of each",
    "exit_code": "of the worst container; null while it runs",
    "oom_killed": "whether the kernel killed one of them for memory",
    "restart_count": "restarts by the engine's own restart policy",
    "started_at": "of the container started last",
    "version": "the image's tag",
    "health": "of Docker's own health check: healthy, unhealthy, starting, or none",
}

_SCHEMAS = schemas_of(ARGUMENTS.values())


def _spec(
    name: str,
    summary: str,
    returns: dict[str, str],
    *,
    risk: Risk = Risk.LOW,
    mutates: bool = True,
    timeout: float = 150.0,
    in_flight: float = _IN_FLIGHT,
    provable: bool = True,
) -> CallSpec:
    return CallSpec(
        name=name,
        summary=summary,
        arguments=_SCHEMAS[ARGUMENTS[name]],
        returns=returns,
        mutates=mutates,
        risk=risk,
        timeout_seconds=timeout,
        in_flight_seconds=in_flight,
        provable=provable and mutates,
        open=name == OPEN_CALL,
    )


_SPECS = (
    _spec(
        "container.status",
        "State of a container, or of all containers of a service",
        _STATUS,
        mutates=False,
        timeout=15,
    ),
    _spec(
        "container.health",
        "Whether all containers run, Docker's health check passes and the binding's probe passes",
        {"healthy": "the answer", "state": "as container.status", "checks": "name, ok, detail of each check"},
        mutates=False,
        timeout=75,
    ),
    _spec(
        "container.logs",
        "The last lines of standard output and standard error",
        {"lines": "newest last, each cut at 4096 characters", "truncated": "older lines exist"},
        mutates=False,
        timeout=15,
    ),
    _spec(
        "container.usage",
        "What the containers use now",
        {
            "cpu_percent": "100 = one core, since the last look of this minute, else over 100 ms or more",
            "memory_bytes": "without the page cache that can be dropped",
            "memory_limit_bytes": "null without a limit",
            "memory_percent": "of the limit",
            "processes": "how many",
        },
        mutates=False,
        timeout=15,
    ),
    _spec(
        "container.describe",
        "Configuration and status",
        {
            "configuration": "image, version, replicas, cpus, memory_bytes, environment, command",
            "previous_version": "what container.rollback would deploy",
            "deployed_at": "when container.deploy or container.rollback last changed the image",
            "deployment": "what container.deploy takes as `record` to bring exactly this back",
            "status": "as container.status",
        },
        mutates=False,
        timeout=15,
    ),
    _spec(
        "container.list",
        "The containers of the target's engine",
        {
            "services": "id, name, state, image and version of each, by name",
            "total": "how many there are, of the wanted state when one was given",
            "running": "how many of them run",
            "truncated": "whether there are more than are listed",
        },
        mutates=False,
        timeout=15,
    ),
    _spec(
        "container.diagnose",
        "Run one of the binding's diagnostics in the first container that runs",
        DIAGNOSE_RETURNS,
        mutates=False,
        timeout=330,
    ),
    _spec(
        "container.snapshot",
        "Everything that can be seen of the containers at once, masked; what cannot be seen says why",
        SNAPSHOT_RETURNS,
        mutates=False,
        timeout=150,
    ),
    _spec(
        "container.backend",
        "The state of the binding's server at its load balancer",
        STATE_RETURNS,
        mutates=False,
        timeout=130,
    ),
    _spec(
        "container.set_backend",
        "Give the binding's server at its load balancer traffic, no new sessions, or none",
        SET_RETURNS,
        risk=Risk.MEDIUM,
        timeout=250,
        in_flight=5,
    ),
    _spec(
        "container.reclaim",
        "Remove the engine's dangling images and build cache; never containers, volumes or images with a name",
        {"reclaimed_bytes": "room that became free", "removed": "how many images and cache records went"},
        risk=Risk.HIGH,
        timeout=600,
    ),
    _spec("container.start", "Start the containers that do not run", _INSTANCES, timeout=60, in_flight=5),
    _spec("container.stop", "Stop the containers", _INSTANCES, risk=Risk.HIGH),
    _spec("container.restart", "Restart the containers, one after another", _INSTANCES, risk=Risk.MEDIUM),
    _spec(
        "container.scale",
        "Change the number of a service's containers",
        {**_INSTANCES, "replicas": "the new number", "previous_replicas": "the number before"},
        risk=Risk.MEDIUM,
    ),
    _spec(
        "container.update",
        "Change the limits of running containers",
        {**_INSTANCES, "cpus": "the new limit", "memory_bytes": "the new limit"},
        risk=Risk.MEDIUM,
        timeout=30,
        in_flight=5,
    ),
    _spec(
        "container.configure",
        "Set and remove environment variables, by replacing the container; the old one returns when the new one fails",
        _INSTANCES,
        risk=Risk.MEDIUM,
        timeout=900,
    ),
    _spec(
        "container.deploy",
        "Run another image, by replacing the container; the old one returns when the new one fails",
        {**_INSTANCES, **_VERSION},
        risk=Risk.HIGH,
        timeout=900,
    ),
    _spec(
        "container.rollback",
        "Run the image that was deployed before the present one",
        {**_INSTANCES, **_VERSION},
        risk=Risk.HIGH,
        timeout=900,
    ),
    _spec(
        "container.exec",
        "Run a program inside the container; no shell reads the arguments",
        {
            "exit_code": "its exit code",
            "output": "both outputs, cut at 65536 characters",
            "truncated": "more was written",
        },
        risk=Risk.HIGH,
        timeout=300,
        in_flight=300,
        provable=False,
    ),
    _spec(
        OPEN_CALL,
        "Any endpoint of the Docker Engine API",
        {
            "status": "the HTTP status",
            "body": "the answer: JSON, a list for JSON lines, or text",
            "truncated": "cut at 8 MiB",
        },
        risk=Risk.HIGH,
        timeout=60,
        in_flight=60,
        provable=False,
    ),
)

CALL_SPECS: Mapping[str, CallSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})


def spec_of(name: str) -> CallSpec:
    """The published specification. Raises CallError(PERMANENT, `unknown_call`)."""
    return call_named("docker", CALL_SPECS, name)


def classify(name: str, arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether the call mutates, and its risk; an open call by its method.

    Raises CallError as `spec_of`, and for what the target's binding says cannot work.
    """
    spec = spec_of(name)
    if spec.open and arguments.get("method") in ("GET", "HEAD") and not _attaches(arguments.get("path")):
        return False, Risk.LOW
    refuse_impossible(name, arguments)
    return spec.mutates, spec.risk


def _attaches(path: JsonValue) -> bool:
    # `GET containers/x/attach/ws` writes to a container's standard input: the one GET that is not surely read-only.
    # A segment that only a later answer will give could complete that path.
    if not isinstance(path, list | tuple) or not path:
        return True
    return any(not isinstance(part, str) for part in (*path[:1], *path[2:])) or "attach" in path
