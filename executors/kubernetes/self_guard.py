"""The executor's layer of the self-target guard: the pod that UICI runs in, and what contains it, is never changed.

What a binding resolved to is compared by uid: UICI's own pod, everything above it (its ReplicaSet, its Deployment), and
its node. What runs beside it, in its namespace too, may be healed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesBinding
from executors.kubernetes.workloads import controller
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfIdentity

_MOST_OWNERS = 5
_SECONDS = 10.0


class SelfGuard:
    """Raises CallError(PERMANENT, `self_target`); does nothing when `active` is false."""

    def __init__(self, cluster: Cluster, identity: Callable[[], SelfIdentity], active: bool) -> None:
        self._cluster = cluster
        self._identity_now = identity
        self._active = active

    @property
    def _identity(self) -> SelfIdentity:
        return self._identity_now()

    def check_binding(self, binding: KubernetesBinding) -> None:
        """Refuse a binding whose own text names UICI."""
        if self._active:
            named = self._identity.is_reached_by(binding.model_dump(mode="json", exclude={"health"}))
            if named is not None:
                raise self._refusal(f"{binding} names UICI itself ({named!r:.100})")

    def check_object(self, thing: JsonObject) -> None:
        """Refuse an object that is UICI's own pod or contains it, whatever it was reached by.

        Raises CallError also when the cluster cannot be asked what contains UICI.
        """
        if not self._active:
            return
        metadata = thing["metadata"]
        shown = f"{thing['kind']} {metadata['name']!r:.100}"
        if self._identity.is_named_by((metadata["name"],)) is not None:
            raise self._refusal(f"{shown} is named as UICI itself")
        if thing["kind"] == "Node" and metadata["name"] in self._identity.containing:
            raise self._refusal(f"{shown} contains UICI itself")
        # A node's name means one machine, and no right to read nodes is needed to know on which of them UICI runs.
        mark = metadata["name"] if thing["kind"] == "Node" else metadata["uid"]
        if any(mark == own for own in self._own(thing["kind"] == "Node", Deadline(_SECONDS))):
            raise self._refusal(f"{shown} is, or contains, what UICI itself runs in")

    def _own(self, nodes: bool, deadline: Deadline) -> Iterator[str]:
        """Names of the nodes that UICI's pods run on; else uids of the pods and of what owns them."""
        for place in sorted(self._identity.pods):
            namespace, _, name = place.partition("/")
            thing = self._cluster.find(self._cluster.resource("Pod"), namespace, name, deadline)
            if thing is None:
                continue
            if nodes:
                yield str(thing["spec"].get("nodeName"))
                continue
            yield str(thing["metadata"]["uid"])
            yield from self._owners(thing, namespace, deadline)

    def _owners(self, thing: JsonObject, namespace: str, deadline: Deadline) -> Iterator[str]:
        above: JsonObject | None = thing
        for _ in range(_MOST_OWNERS):
            reference = None if above is None else controller(above)
            if reference is None:
                return
            yield str(reference["uid"])
            group, _, version = str(reference["apiVersion"]).rpartition("/")
            resource = self._cluster.resource(str(reference["kind"]), group, version)
            above = self._cluster.find(resource, namespace, str(reference["name"]), deadline)

    def _refusal(self, why: str) -> CallError:
        return CallError(
            FailureKind.PERMANENT,
            "self_target",
            f"refused in environment {self._cluster.environment!r}: {why}; UICI never changes itself. "
            "A person may do it by hand",
        )
