"""Looks at a workload: its status, health, logs, usage and description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from executors.deadline import Deadline
from executors.kubernetes import read_calls
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.publishing import OnTarget, Published
from executors.kubernetes.workloads import Workloads
from uici.model.base import Frozen, JsonObject
from uici.model.call import Happened


class Reading:
    """The calls that only look. Implements `executors.kubernetes.parts.Part`."""

    published: ClassVar[Mapping[str, Published]] = read_calls.PUBLISHED

    def __init__(self, cluster: Cluster, workloads: Workloads) -> None:
        self._cluster = cluster
        self._workloads = workloads

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Look. Raises CallError."""
        binding = cast(OnTarget, arguments).target
        found = self._workloads.found(binding, deadline)
        pods = [] if found is None else self._workloads.pods(found, deadline)
        return {"state": "missing" if found is None else "running", "running": len(pods)}

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Nothing: what only looks is not proved."""
        return {}

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """Unknown: what only looks is not proved."""
        return Happened.UNKNOWN
