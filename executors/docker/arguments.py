"""The arguments of this executor's calls, parsed once into frozen types; importable without the Docker SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from executors.docker.settings import MAX_STOP_SECONDS, DockerBinding, Text
from executors.haproxy import MAX_WEIGHT, Traffic
from executors.parameters import VARIABLE, Diagnostic, LogLines, Selection, SnapshotLines, Versioned
from uici.model.base import Frozen, JsonValue

OPEN_CALL = "engine.request"


class OnTarget(Frozen):
    """Arguments of every named call."""

    target: DockerBinding = Field(description="the target's whole binding")


class Logs(OnTarget, LogLines):
    """Arguments of container.logs."""


class Snapshot(OnTarget, SnapshotLines):
    """Arguments of container.snapshot."""


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

    environment: dict[Annotated[str, Field(pattern=VARIABLE)], Annotated[str, Field(max_length=131_072)]] = Field(
        default_factory=dict, description="variables to set"
    )
    remove: tuple[Annotated[str, Field(pattern=VARIABLE)], ...] = Field(
        default=(), max_length=1000, description="variables to remove"
    )


class Deploy(Recreate, Versioned):
    """Arguments of container.deploy: exactly one of `image` and `version`."""

    image: Text | None = Field(default=None, description="an image that the engine has: repository:tag, digest or id")
    record: dict[str, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None,
        max_length=10,
        description="container.describe's `deployment`: exactly that image comes back, with what was known before it",
    )


class Exec(OnTarget):
    """Arguments of container.exec."""

    argv: tuple[Annotated[str, Field(max_length=131_072)], ...] = Field(
        min_length=1, max_length=1000, description="the program and its arguments; no shell reads them"
    )
    environment: dict[Annotated[str, Field(pattern=VARIABLE)], Annotated[str, Field(max_length=131_072)]] = Field(
        default_factory=dict, description="variables for the program, beside the container's own"
    )
    stdin: Annotated[str, Field(max_length=1_048_576)] | None = Field(
        default=None, description="what the program reads from its standard input; without it there is none"
    )
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")] | None = Field(
        default=None, description="as whom to run it; default: the container's user"
    )
    expect_exit: tuple[Annotated[int, Field(ge=0, le=255)], ...] | None = Field(
        default=None, min_length=1, max_length=256, description="with any other exit code the call has failed"
    )


class ListAll(OnTarget, Selection):
    """Arguments of container.list."""


class Diagnose(OnTarget, Diagnostic):
    """Arguments of container.diagnose."""


class SetBackend(OnTarget):
    """Arguments of container.set_backend."""

    state: Traffic
    weight: int | None = Field(default=None, ge=0, le=MAX_WEIGHT, description="absent: as it is")


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
                "container.backend",
                "container.reclaim",
            ),
            OnTarget,
        ),
        "container.logs": Logs,
        "container.snapshot": Snapshot,
        "container.list": ListAll,
        "container.diagnose": Diagnose,
        "container.set_backend": SetBackend,
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
