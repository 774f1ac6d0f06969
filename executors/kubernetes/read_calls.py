"""Calls that only look; importable without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from executors.kubernetes.publishing import Published, published

STATUS_RETURNS = {
    "state": "running, starting, stopped, exited, failed, restarting or missing; the worst pod's",
    "desired": "how many pods there should be",
    "running": "how many run",
    "instances": "id (the pod's uid), name, state, exit_code, started_at, pid of each",
    "exit_code": "of the worst pod's container; null while it runs",
    "oom_killed": "whether the kernel killed one of them for memory",
    "restart_count": "restarts by the kubelet",
    "started_at": "of the pod started last",
    "version": "the image's tag",
    "health": "of the readiness probes: healthy, unhealthy, starting, or none",
}

_READS = (
    published(
        "workload.status",
        "State of a workload's pods",
        STATUS_RETURNS,
        mutates=False,
        timeout=30,
    ),
)
PUBLISHED: Mapping[str, Published] = MappingProxyType({one.spec.name: one for one in _READS})
