"""The arguments of this executor's calls, parsed once into frozen types; importable without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from executors.oci.settings import OciBinding
from executors.parameters import VARIABLE, Diagnostic, LogLines, Selection, SnapshotLines, Versioned
from uici.model.base import Frozen, JsonValue

OPEN_CALL = "oci.request"
MAX_WEIGHT = 100
_Value = Annotated[str, Field(max_length=65_536, pattern="^[^\\x00]*$")]


class Traffic(StrEnum):
    """What an operator wants of a backend: all traffic, only connections that are there already, none."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class OnTarget(Frozen):
    """Arguments of every named call."""

    target: OciBinding = Field(description="the target's whole binding")


class Logs(OnTarget, LogLines):
    """Arguments of oci.logs."""


class Snapshot(OnTarget, SnapshotLines):
    """Arguments of oci.snapshot."""


class Stop(OnTarget):
    """Arguments of oci.stop and oci.restart."""

    hard: bool = Field(
        default=False, description="a compute instance: as if its power went, instead of asking its system to end"
    )


class Scale(OnTarget):
    """Arguments of oci.scale."""

    replicas: int = Field(ge=1, le=100, description="at least one: a new one is made in the image of another")


class Recreate(OnTarget):
    """What all calls that replace a container instance by another take."""

    health_timeout_seconds: float = Field(
        default=300.0, gt=0, le=1800, description="how long the new one may take to be healthy"
    )


class Update(Recreate):
    """Arguments of oci.update. What is absent or null stays as it is; 0 is refused: a shape always has a size."""

    cpus: float | None = Field(default=None, ge=0, le=512, description="OCPUs of the shape")
    memory_bytes: int | None = Field(default=None, ge=0, le=2**45)


class Configure(Recreate):
    """Arguments of oci.configure."""

    environment: dict[Annotated[str, Field(pattern=VARIABLE)], _Value] = Field(
        default_factory=dict, description="variables to set"
    )
    remove: tuple[Annotated[str, Field(pattern=VARIABLE)], ...] = Field(
        default=(), max_length=1000, description="variables to remove"
    )


class Deploy(Recreate, Versioned):
    """Arguments of oci.deploy: exactly one of `image` and `version`."""

    image: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,500}$")] | None = Field(
        default=None, description="an image that the region can pull: registry/repository:tag"
    )
    record: dict[str, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None,
        max_length=10,
        description="oci.describe's `deployment`: exactly that image comes back, with what was known before it",
    )


class ListAll(OnTarget, Selection):
    """Arguments of oci.list."""


class Diagnose(OnTarget, Diagnostic):
    """Arguments of oci.diagnose."""


class SetBackend(OnTarget):
    """Arguments of oci.set_backend."""

    state: Traffic
    weight: int | None = Field(default=None, ge=1, le=MAX_WEIGHT, description="absent: as it is")


class OciRequest(Frozen):
    """Arguments of oci.request."""

    target: JsonValue = Field(default=None, description="the target's binding, for what the guards look at; not sent")
    service: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,63}$")] = Field(
        description="the SDK's package: core, container_instances, load_balancer, ..."
    )
    client: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{1,63}Client$")] | None = Field(
        default=None, description="needed when the service has several: ComputeClient, ComputeManagementClient, ..."
    )
    operation: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{2,100}$")] = Field(
        description="the client's method: get_instance, list_boot_volumes, ..."
    )
    arguments: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,100}$")], JsonValue] = Field(
        default_factory=dict,
        description="the method's arguments by name; a model is written as an object with the model's field names",
    )


ARGUMENTS: Mapping[str, type[Frozen]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("oci.status", "oci.health", "oci.usage", "oci.describe", "oci.start", "oci.backend"), OnTarget
        ),
        "oci.logs": Logs,
        "oci.snapshot": Snapshot,
        "oci.list": ListAll,
        "oci.diagnose": Diagnose,
        "oci.set_backend": SetBackend,
        "oci.stop": Stop,
        "oci.restart": Stop,
        "oci.scale": Scale,
        "oci.update": Update,
        "oci.configure": Configure,
        "oci.deploy": Deploy,
        "oci.rollback": Recreate,
        OPEN_CALL: OciRequest,
    }
)
