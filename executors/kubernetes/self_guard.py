"""The executor's layer of the self-target guard: the pod that UICI runs in, and what contains it, is never changed."""

from __future__ import annotations

from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfIdentity


class SelfGuard:
    """Raises CallError(PERMANENT, `self_target`); does nothing when `active` is false."""

    def __init__(self, cluster: Cluster, identity: SelfIdentity, active: bool) -> None:
        self._cluster = cluster
        self._identity = identity
        self._active = active

    def check_binding(self, binding: KubernetesBinding) -> None:
        """Refuse a binding whose own text names UICI."""
        if self._active:
            named = self._identity.is_reached_by(binding.model_dump(mode="json", exclude={"health"}))
            if named is not None:
                raise self._refusal(f"{binding} names UICI itself ({named!r:.100})")

    def check_object(self, thing: JsonObject) -> None:
        """Refuse an object that is UICI's own pod or contains it, whatever it was reached by."""
        if self._active and self._identity.is_named_by((thing["metadata"]["name"],)) is not None:
            raise self._refusal(f"{thing['kind']} {thing['metadata']['name']!r:.100} is what UICI itself runs in")

    def _refusal(self, why: str) -> CallError:
        return CallError(
            FailureKind.PERMANENT,
            "self_target",
            f"refused in environment {self._cluster.environment!r}: {why}; UICI never changes itself. "
            "A person may do it by hand",
        )
