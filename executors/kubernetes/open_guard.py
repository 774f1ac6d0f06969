"""The self-target guard of requests that reach anything: UICI's pod, what owns and contains it, and what it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.discovery import Resource
from executors.kubernetes.open_calls import KubernetesRequest
from executors.kubernetes.workloads import controller
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfIdentity

_MOST_OWNERS = 5


class Key(NamedTuple):
    """What an object is reached by."""

    kind: str
    namespace: str
    name: str


class OpenGuard:
    """Raises CallError(PERMANENT, `self_target`); does nothing when `active` is false."""

    def __init__(self, cluster: Cluster, identity: Callable[[], SelfIdentity], active: bool) -> None:
        self._cluster = cluster
        self._identity_now = identity
        self._active = active

    @property
    def _identity(self) -> SelfIdentity:
        return self._identity_now()

    def check_request(
        self, request: KubernetesRequest, resource: Resource, namespace: str | None, deadline: Deadline
    ) -> None:
        """Refuse what would change something of UICI's own, or of what contains it.

        Raises CallError also when the cluster cannot be asked what that is.
        """
        if not self._active:
            return
        named = self._identity.is_reached_by(request.model_dump(mode="json"))
        if named is not None:
            raise self._refusal(f"the request names UICI itself ({named!r:.100})")
        own = set(self._own(deadline))
        kinds = {key.kind for key in own}
        if resource.kind not in kinds:
            return
        for key in self._reached(request, resource, namespace, deadline):
            if key in own:
                raise self._refusal(f"{key.kind} {key.name!r:.100} is what UICI itself runs in, or needs to run")

    def _reached(
        self, request: KubernetesRequest, resource: Resource, namespace: str | None, deadline: Deadline
    ) -> Iterator[Key]:
        place = (namespace or "") if resource.namespaced else ""
        if request.verb != "deletecollection":
            name = request.name or ((request.body or {}).get("metadata") or {}).get("name")
            yield Key(resource.kind, place, str(name))
            return
        listed = self._cluster.list(
            resource, namespace, labels=request.labels, fields=request.fields, deadline=deadline
        )
        yield from (_key(one) for one in listed)

    def _own(self, deadline: Deadline) -> Iterator[Key]:
        """UICI's pods, the objects above them, those that contain them, and those whose content they use."""
        for place in self._identity.pods:
            namespace, _, name = place.partition("/")
            yield from (Key("Namespace", "", namespace), Key("Pod", namespace, name))
            pod = self._cluster.find(self._cluster.resource("Pod"), namespace, name, deadline)
            if pod is not None:
                yield from _used_by(pod)
                yield from self._owners(pod, deadline)

    def _owners(self, pod: JsonObject, deadline: Deadline) -> Iterator[Key]:
        thing: JsonObject | None = pod
        for _ in range(_MOST_OWNERS):
            reference = None if thing is None else controller(thing)
            if reference is None:
                return
            namespace = pod["metadata"]["namespace"]
            yield Key(str(reference["kind"]), namespace, str(reference["name"]))
            group, _, version = str(reference["apiVersion"]).rpartition("/")
            resource = self._cluster.resource(str(reference["kind"]), group, version)
            thing = self._cluster.find(resource, namespace, str(reference["name"]), deadline)

    def _refusal(self, why: str) -> CallError:
        return CallError(
            FailureKind.PERMANENT,
            "self_target",
            f"refused in environment {self._cluster.environment!r}: {why}; UICI never changes itself. "
            "A person may do it by hand",
        )


def _key(thing: JsonObject) -> Key:
    metadata = thing["metadata"]
    return Key(str(thing["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]))


def _used_by(pod: JsonObject) -> Iterator[Key]:
    """Its node, its account, its volumes, and what its variables come from."""
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    if spec.get("nodeName"):
        yield Key("Node", "", spec["nodeName"])
    yield Key("ServiceAccount", namespace, spec.get("serviceAccountName") or "default")
    for volume in spec.get("volumes") or ():
        for source, kind, field in (
            ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
            ("secret", "Secret", "secretName"),
            ("configMap", "ConfigMap", "name"),
        ):
            if source in volume:
                yield Key(kind, namespace, str(volume[source].get(field)))
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        variables = (one.get("valueFrom") or {} for one in container.get("env") or ())
        for one in (*(container.get("envFrom") or ()), *variables):
            for source, kind in (
                ("secretRef", "Secret"), ("configMapRef", "ConfigMap"),
                ("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap"),
            ):  # fmt: skip
                if source in one:
                    yield Key(kind, namespace, str(one[source].get("name")))
