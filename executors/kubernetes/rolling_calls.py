"""Calls that change a workload's pod template, and so roll out; importable without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from executors.kubernetes.publishing import Declared, OnTarget, Variable, declared, publish
from executors.parameters import Versioned
from uici.model.base import Frozen
from uici.model.call import Risk

CONFIGURE, DEPLOY, ROLLBACK, UPDATE = (
    "workload.configure",
    "workload.deploy",
    "workload.rollback",
    "workload.update",
)
_IMAGE = r"^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,1023}$"


class Roll(OnTarget):
    """What all calls take that roll out."""

    rollout_timeout_seconds: float = Field(
        default=300.0, gt=0, le=850, description="how long the new pods may take to be ready"
    )
    stuck_seconds: float = Field(
        default=20.0,
        ge=0,
        le=850,
        description="how long one of them may be stuck: its image cannot be pulled, its program ends again and again",
    )


class Configure(Roll):
    """Arguments of workload.configure."""

    environment: dict[Variable, Annotated[str, Field(max_length=131_072)]] = Field(
        default_factory=dict, description="variables to set"
    )
    remove: tuple[Variable, ...] = Field(default=(), max_length=1000, description="variables to remove")


class Update(Roll):
    """Arguments of workload.update. What is absent or null stays as it is; 0 lifts the limit."""

    cpus: float | None = Field(default=None, ge=0, le=4096, description="1.5 = one and a half CPUs; 0 = no limit")
    memory_bytes: int | None = Field(default=None, ge=0, le=2**50, description="0 = no limit")


class Deploy(Roll, Versioned):
    """Arguments of workload.deploy: exactly one of `image` and `version`."""

    image: Annotated[str, Field(pattern=_IMAGE)] | None = Field(default=None, description="repository:tag or digest")
    record: dict[str, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None,
        max_length=10,
        description="workload.describe's `deployment`: exactly that comes back, with what was known before it",
    )


_CHANGED: Mapping[str, str] = MappingProxyType(
    {
        "changed": "whether anything was changed",
        "instances": "uids of the pods that are there now",
        "rollout": "how the rollout ended",
    }
)
_VERSION: Mapping[str, str] = MappingProxyType(
    {"image": "the image that runs now", "version": "its tag", "previous_image": "the image before"}
)


def _rolling(name: str, summary: str, returns: Mapping[str, str], arguments: type[Frozen], risk: Risk) -> Declared:
    return declared(name, summary, {**_CHANGED, **returns}, arguments, risk=risk, timeout=900)


_CALLS = (
    _rolling(DEPLOY, "Run another image in the bound container, and wait for the rollout", _VERSION, Deploy, Risk.HIGH),
    _rolling(
        ROLLBACK, "Bring back the revision before the present one, and wait for the rollout", _VERSION, Roll, Risk.HIGH
    ),
    _rolling(
        CONFIGURE,
        "Set and remove environment variables of the bound container, and wait for the rollout; values that come from "
        "a Secret or ConfigMap are left alone",
        {},
        Configure,
        Risk.MEDIUM,
    ),
    _rolling(
        UPDATE,
        "Change the limits of the bound container, and wait for the rollout",
        {
            "cpus": "the limit now; null without one",
            "memory_bytes": "the limit now; null without one",
            "resources": "requests and limits that were changed, each with the value before and now",
        },
        Update,
        Risk.MEDIUM,
    ),
)
PUBLISHED = publish(_CALLS)
