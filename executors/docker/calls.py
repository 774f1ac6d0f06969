"""The calls that this executor publishes, and their arguments; importable without the Docker SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from executors.docker.settings import MAX_STOP_SECONDS, DockerBinding, Text
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import CallError, CallSpec, FailureKind, Risk

OPEN_CALL = "engine.request"
# A restart that asks for no longer grace than this is surely over, or never was, when the call's time in flight has
# passed; for a longer one the proof says "unknown" instead of "no".
PROVABLE_GRACE = 10.0
_IN_FLIGHT = 15.0
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_.-]{0,254}$"


class OnTarget(Frozen):
    """Arguments of every named call."""

    target: DockerBinding = Field(description="the target's whole binding")


class Logs(OnTarget):
    """Arguments of container.logs."""

    lines: int = Field(default=200, ge=1, le=10_000)


class Stop(OnTarget):
    """Arguments of container.stop and container.restart."""

    grace_seconds: int | None = Field(
        default=None, ge=0, le=MAX_STOP_SECONDS, description="from the stop signal to SIGKILL; default: the binding's"
    )

    @property
    def grace(self) -> int:
        """Seconds from the stop signal to SIGKILL."""
        return self.target.stop_seconds if self.grace_seconds is None else self.grace_seconds


class Scale(OnTarget):
    """Arguments of container.scale."""

    replicas: int = Field(ge=1, le=100, description="at least one: a new container is made in the image of another")


class Update(OnTarget):
    """Arguments of container.update. What is absent or null stays as it is; 0 lifts the limit."""

    cpus: float | None = Field(default=None, ge=0, le=4096, description="1.5 = one and a half CPUs; 0 = no limit")
    memory_bytes: int | None = Field(default=None, ge=0, le=2**50, description="0 = no limit")


class Recreate(OnTarget):
    """What all calls that replace a container by another take."""

    health_timeout_seconds: float = Field(
        default=60.0, gt=0, le=600, description="how long the new container may take to be healthy"
    )


class Configure(Recreate):
    """Arguments of container.configure."""

    environment: dict[Annotated[str, Field(pattern=_VARIABLE)], Annotated[str, Field(max_length=131_072)]] = Field(
        default_factory=dict, description="variables to set"
    )
    remove: tuple[Annotated[str, Field(pattern=_VARIABLE)], ...] = Field(
        default=(), max_length=1000, description="variables to remove"
    )


class Deploy(Recreate):
    """Arguments of container.deploy: exactly one of `image` and `version`."""

    image: Text | None = Field(default=None, description="an image that the engine has: repository:tag, digest or id")
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")] | None = Field(
        default=None, description="a tag of the container's own repository"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Deploy:
        if (self.image is None) is (self.version is None):
            raise ValueError("give exactly one of image and version")
        return self


class Exec(OnTarget):
    """Arguments of container.exec."""

    argv: tuple[Annotated[str, Field(max_length=131_072)], ...] = Field(
        min_length=1, max_length=1000, description="the program and its arguments; no shell reads them"
    )


class EngineRequest(Frozen):
    """Arguments of engine.request."""

    target: JsonValue = Field(default=None, description="the target's binding, for what the guards look at; not sent")
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE"]
    path: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] = Field(
        min_length=1, max_length=12, description='segments, each quoted: ["containers", "web", "json"]'
    )
    query: dict[str, str | int | float | bool | list[str] | dict[str, JsonValue]] = Field(
        default_factory=dict, description="an object or a list is sent as JSON, as the Engine's `filters` want it"
    )
    body: JsonValue = None


ARGUMENTS: Mapping[str, type[Frozen]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "container.status",
                "container.health",
                "container.usage",
                "container.describe",
                "container.start",
            ),
            OnTarget,
        ),
        "container.logs": Logs,
        "container.stop": Stop,
        "container.restart": Stop,
        "container.scale": Scale,
        "container.update": Update,
        "container.configure": Configure,
        "container.deploy": Deploy,
        "container.rollback": Recreate,
        "container.exec": Exec,
        OPEN_CALL: EngineRequest,
    }
)

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
        arguments=ARGUMENTS[name].model_json_schema(),
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
            "status": "as container.status",
        },
        mutates=False,
        timeout=15,
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
        timeout=60,
        in_flight=60,
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
    spec = CALL_SPECS.get(name)
    if spec is None:
        raise CallError(
            FailureKind.PERMANENT,
            "unknown_call",
            f"the executor docker has no call {name!r:.100}; it has {', '.join(CALL_SPECS)}",
        )
    return spec


def classify(name: str, arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether the call mutates, and its risk; an open call by its method. Raises CallError as `spec_of`."""
    spec = spec_of(name)
    if spec.open and arguments.get("method") in ("GET", "HEAD") and not _attaches(arguments.get("path")):
        return False, Risk.LOW
    return spec.mutates, spec.risk


def _attaches(path: JsonValue) -> bool:
    # `GET containers/x/attach/ws` writes to a container's standard input: the one GET that is not surely read-only.
    # A segment that only a later answer will give could complete that path.
    if not isinstance(path, list | tuple) or not path:
        return True
    return any(not isinstance(part, str) for part in (*path[:1], *path[2:])) or "attach" in path


_Arguments = TypeVar("_Arguments", bound=Frozen)


def parsed(kind: type[_Arguments], name: str, arguments: JsonObject) -> _Arguments:
    """`arguments` as the frozen type `kind`. Raises CallError(PERMANENT, `bad_arguments`); values are not repeated."""
    try:
        # As JSON, which arguments are: strict, yet with lists where tuples are meant.
        return kind.model_validate_json(json.dumps(arguments), strict=True)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)[:10]
        )
        raise CallError(
            FailureKind.PERMANENT, "bad_arguments", f"{name}: the arguments do not fit: {problems}"
        ) from None
