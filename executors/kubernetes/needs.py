"""The rights that each named call needs, as data; importable without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from executors.kubernetes import lifecycle_calls, node_calls, open_calls, read_calls, rolling_calls, upkeep_calls


@dataclass(frozen=True)
class Need:
    """Verbs on a kind of object, in the namespace of the target; all of it once for each call that has it."""

    verbs: tuple[str, ...]
    kind: str | None = None
    """None: the bound object's own."""
    subresource: str = ""
    of: frozenset[str] = frozenset()
    """Only for bindings of these kinds; empty: for all."""
    everywhere: bool = False
    """In all namespaces, wherever the binding is."""
    having: str = ""
    """Only for bindings that say this."""


def _of(*kinds: str) -> frozenset[str]:
    return frozenset(kinds)


_WITH_PODS = _of("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
_BOUND = (Need(("get",)),)
_ON_NODE = Need(("list",), "Pod", of=_of("Node"), everywhere=True)
_PODS = (
    Need(("list",), "ReplicaSet", of=_of("Deployment")),
    Need(("list",), "Job", of=_of("CronJob")),
    Need(("list",), "Pod", of=_WITH_PODS),
    _ON_NODE,
)
_SEEN = (
    *_BOUND,
    *_PODS,
    # Why something is not well stands in the events.
    Need(("list",), "Event", of=frozenset({*_WITH_PODS, "Pod"})),
)
_LOGS = Need(("get",), "Pod", "log")
_USAGE = Need(("get",), "PodMetrics")
"""Where no metrics API is served the kubelets could tell, by a right that reaches all that runs on every node: nobody
gets that from here.
"""
_LISTED = ("Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
_EXEC = (Need(("get", "create"), "Pod", "exec"),)
"""A program is started by a request that is a GET, which newer servers judge as what it is: a creation."""
_REVISIONS = (
    Need(("list",), "ReplicaSet", of=_of("Deployment")),
    Need(("list",), "ControllerRevision", of=_of("StatefulSet", "DaemonSet")),
)
_FOLLOWED = (
    *_BOUND,
    *_PODS,
    *_REVISIONS,
    Need(("patch",)),
    # Watched while the rollout goes on.
    Need(("watch",), of=_of("Deployment", "StatefulSet", "DaemonSet")),
)
_ROLLING = (
    *_FOLLOWED,
    # A StatefulSet's broken pods stand in the way of those that follow.
    Need(("delete",), "Pod", of=_of("StatefulSet")),
)

NEEDS: Mapping[str, tuple[Need, ...]] = MappingProxyType(
    {
        read_calls.STATUS: _SEEN,
        read_calls.HEALTH: _SEEN,
        read_calls.LOGS: (*_BOUND, *_PODS, _LOGS),
        read_calls.USAGE: (*_BOUND, *_PODS, _USAGE),
        read_calls.DESCRIBE: (*_SEEN, *_REVISIONS),
        read_calls.LIST: (
            *(Need(("list",), kind, of=frozenset({*_WITH_PODS, "Pod"})) for kind in _LISTED),
            *(Need(("list",), kind, of=_of("Node"), everywhere=True) for kind in _LISTED),
        ),
        read_calls.DIAGNOSE: tuple(replace(need, having="diagnostics") for need in (*_BOUND, *_PODS, *_EXEC)),
        # It says of each part that cannot be seen why; no program is started only to see processes.
        read_calls.SNAPSHOT: (*_SEEN, *_REVISIONS, _LOGS, _USAGE),
        # They ask a load balancer, which is none of the cluster's.
        read_calls.BACKEND: (),
        read_calls.SET_BACKEND: (),
        lifecycle_calls.START: _FOLLOWED,
        lifecycle_calls.STOP: _FOLLOWED,
        lifecycle_calls.RESTART: _FOLLOWED,
        lifecycle_calls.SCALE: (
            *_FOLLOWED,
            Need(("list",), "HorizontalPodAutoscaler"),
            Need(("get", "patch"), "HorizontalPodAutoscaler", having="autoscaler"),
        ),
        rolling_calls.CONFIGURE: _ROLLING,
        rolling_calls.DEPLOY: _ROLLING,
        rolling_calls.ROLLBACK: _ROLLING,
        rolling_calls.UPDATE: _ROLLING,
        upkeep_calls.REPLACE: (*_BOUND, *_PODS, Need(("delete",), "Pod")),
        upkeep_calls.EVENTS: (
            *_BOUND,
            *_PODS,
            Need(("list",), "Event", of=frozenset({*_WITH_PODS, "Pod"})),
            Need(("list",), "Event", of=_of("Node"), everywhere=True),
        ),
        upkeep_calls.SCHEDULE: (*_BOUND, Need(("list",), "Job")),
        upkeep_calls.SUSPEND: (*_BOUND, Need(("patch",))),
        upkeep_calls.RESUME: (*_BOUND, Need(("patch",))),
        upkeep_calls.RERUN: (*_BOUND, Need(("list", "create"), "Job")),
        node_calls.STATE: (*_BOUND, _ON_NODE),
        node_calls.CORDON: (*_BOUND, Need(("patch",))),
        node_calls.UNCORDON: (*_BOUND, Need(("patch",))),
        node_calls.DRAIN: (
            *_BOUND,
            _ON_NODE,
            Need(("patch",)),
            Need(("create",), "Pod", "eviction", everywhere=True),
        ),
        open_calls.EXEC: (*_BOUND, *_PODS, *_EXEC),
        open_calls.REQUEST: (),
    }
)
"""Call -> its needs. A request that reaches anything says itself what it is about."""
FINDING: tuple[Need, ...] = (
    *(
        Need(("get",), kind, of=frozenset({*_WITH_PODS, "Pod"}))
        for kind in (*_LISTED, "HorizontalPodAutoscaler", "PersistentVolumeClaim")
    ),
    Need(("list",), "Pod", of=frozenset({*_WITH_PODS, "Pod"})),
    Need(("get",), "Node", of=_of("Node"), everywhere=True),
)
"""Of looking up what an alert's labels name, in the namespaces of the targets."""
