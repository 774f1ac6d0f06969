"""Calls that start, stop, restart and scale; importable without the SDK."""

from __future__ import annotations

from pydantic import Field

from executors.kubernetes.publishing import declared, publish
from executors.kubernetes.rolling_calls import Roll
from uici.model.call import Risk

START, STOP, RESTART, SCALE = "workload.start", "workload.stop", "workload.restart", "workload.scale"


class Scale(Roll):
    """Arguments of workload.scale."""

    replicas: int = Field(ge=0, le=10_000, description="how many pods there should be")


_INSTANCES = {"changed": "whether anything was changed", "instances": "uids of the pods that are there now"}

_CALLS = (
    declared(
        START,
        "Bring what was stopped back to its number of pods, or a schedule back into force, and wait for them",
        _INSTANCES,
        Roll,
        timeout=900,
    ),
    declared(
        STOP,
        "Take a workload to no pods, remembering their number, or a schedule out of force; wait until they are gone",
        _INSTANCES,
        Roll,
        risk=Risk.HIGH,
        timeout=900,
    ),
    declared(
        RESTART,
        "Replace all pods by new ones as `kubectl rollout restart` does, and wait until the former are gone",
        _INSTANCES,
        Roll,
        risk=Risk.MEDIUM,
        timeout=900,
    ),
    declared(
        SCALE,
        "Change the number of pods, and wait for them",
        {**_INSTANCES, "replicas": "the new number", "previous_replicas": "the number before"},
        Scale,
        risk=Risk.MEDIUM,
        timeout=900,
    ),
)
PUBLISHED = publish(_CALLS)
