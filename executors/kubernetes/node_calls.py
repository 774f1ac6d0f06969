"""Calls on a node; importable without the SDK."""

from __future__ import annotations

from pydantic import Field

from executors.kubernetes.publishing import OnTarget, declared, publish
from uici.model.call import Risk

STATE, CORDON, UNCORDON, DRAIN = "node.state", "node.cordon", "node.uncordon", "node.drain"


class Drain(OnTarget):
    """Arguments of node.drain."""

    timeout_seconds: float = Field(default=300.0, gt=0, le=850, description="how long its pods may take to go")
    local_data: bool = Field(default=False, description="move pods with emptyDir volumes, too; what is in them is lost")
    unmanaged_pods: bool = Field(
        default=False, description="evict pods that no controller makes again, too; they are gone then"
    )


_SCHEDULING = {"changed": "whether anything was changed", "schedulable": "whether it gets new pods now"}
_CALLS = (
    declared(
        STATE,
        "Whether a node is ready and gets new pods, and what is wrong with it",
        {
            "ready": "whether its kubelet says that it is",
            "schedulable": "whether it gets new pods",
            "problems": "condition, reason and detail of each condition that is not as it should be",
            "taints": "its taints, as kubectl writes them",
            "pods": "how many pods are on it",
            "version": "of its kubelet",
        },
        mutates=False,
        timeout=30,
    ),
    declared(CORDON, "Keep new pods away from a node", _SCHEDULING, risk=Risk.MEDIUM, timeout=30),
    declared(UNCORDON, "Let a node get new pods again", _SCHEDULING, risk=Risk.LOW, timeout=30),
    declared(
        DRAIN,
        "Keep new pods away from a node, and evict its pods as far as PodDisruptionBudgets let them go",
        {
            "changed": "whether anything was changed",
            "cordoned": "whether it got new pods before",
            "evicted": "namespace/name of the pods that went",
            "left": "pods that stay, and why",
        },
        Drain,
        risk=Risk.HIGH,
        timeout=900,
    ),
)
PUBLISHED = publish(_CALLS)
