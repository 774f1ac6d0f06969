"""From a binding to the objects that exist: the bound one, what it owns, and its pods."""

from __future__ import annotations

from collections.abc import Iterable

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_OPERATORS = {"In": "in", "NotIn": "notin"}


class Workloads:
    """Finds bound objects and their pods. Safe for several threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def namespace(self, binding: KubernetesBinding) -> str | None:
        """Where the bound object is; None for a Node."""
        return binding.namespace

    def found(self, binding: KubernetesBinding, deadline: Deadline) -> JsonObject | None:
        """The bound object, or None when it is missing."""
        resource = self._cluster.resource(binding.kind)
        return self._cluster.find(resource, self.namespace(binding), binding.name, deadline)

    def required(self, binding: KubernetesBinding, deadline: Deadline) -> JsonObject:
        """The bound object. Raises CallError(PERMANENT, `object_not_found`)."""
        found = self.found(binding, deadline)
        if found is None:
            raise self.missing(binding)
        return found

    def missing(self, binding: KubernetesBinding) -> CallError:
        """The error for a call on something that does not exist."""
        return CallError(
            FailureKind.PERMANENT,
            "object_not_found",
            f"{self.shown(binding)} does not exist at {self._cluster.where}; create it, or correct the binding",
        )

    def shown(self, binding: KubernetesBinding) -> str:
        """The binding for messages, its namespace always said."""
        namespace = self.namespace(binding)
        return f"{binding.kind} {binding.name!r:.120}" + (f" in namespace {namespace!r}" if namespace else "")

    def pods(self, owner: JsonObject, deadline: Deadline) -> list[JsonObject]:
        """Its pods, oldest first; those that are being deleted included. A Node's are those that run on it."""
        kind, metadata = owner["kind"], owner["metadata"]
        if kind == "Pod":
            return [owner]
        if kind == "Node":
            return self._listed("Pod", None, None, deadline, fields=f"spec.nodeName={metadata['name']}")
        if kind == "CronJob":
            jobs = self.owned(owner, "Job", deadline)
            return _oldest_first(pod for job in jobs for pod in self.pods(job, deadline))
        if kind == "Deployment":
            sets = {one["metadata"]["uid"] for one in self.owned(owner, "ReplicaSet", deadline)}
        else:
            sets = {metadata["uid"]}
        listed = self._listed("Pod", metadata["namespace"], selector(owner), deadline)
        return [pod for pod in listed if owner_uid(pod) in sets]

    def owned(self, owner: JsonObject, kind: str, deadline: Deadline) -> list[JsonObject]:
        """Objects of a kind that `owner` controls, oldest first: a Deployment's ReplicaSets, a CronJob's Jobs."""
        wanted = selector(owner) if kind != "Job" else None
        listed = self._listed(kind, owner["metadata"]["namespace"], wanted, deadline)
        return [one for one in listed if owner_uid(one) == owner["metadata"]["uid"]]

    def _listed(
        self, kind: str, namespace: str | None, labels: str | None, deadline: Deadline, fields: str | None = None
    ) -> list[JsonObject]:
        resource = self._cluster.resource(kind)
        return _oldest_first(self._cluster.list(resource, namespace, labels=labels, fields=fields, deadline=deadline))


def selector(owner: JsonObject) -> str | None:
    """The object's own label selector in the form that lists take; None when it has none."""
    said = (owner.get("spec") or {}).get("selector") or {}
    parts = [f"{key}={value}" for key, value in sorted((said.get("matchLabels") or {}).items())]
    for one in said.get("matchExpressions") or ():
        key, operator = one["key"], one["operator"]
        if operator in _OPERATORS:
            parts.append(f"{key} {_OPERATORS[operator]} ({','.join(one['values'])})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts) or None


def controller(thing: JsonObject) -> JsonObject | None:
    """The reference to what controls it, if anything does."""
    references = thing["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def owner_uid(thing: JsonObject) -> str | None:
    """The uid of what controls it."""
    reference = controller(thing)
    return None if reference is None else str(reference["uid"])


def template(thing: JsonObject) -> JsonObject:
    """The pod that it would make, with `metadata` and `spec`; of a Pod itself, the pod."""
    spec = thing.get("spec") or {}
    if thing["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: JsonObject = thing if thing["kind"] == "Pod" else spec["template"]
    return found


def container_of(pod: JsonObject, binding: KubernetesBinding, shown: str) -> JsonObject:
    """The container of a pod or template that the binding means. Raises CallError(PERMANENT, `no_such_container`)."""
    containers = pod["spec"]["containers"]
    named = binding.container or (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if named is None:
        return dict(containers[0])
    found = next((one for one in containers if one["name"] == named), None)
    if found is None:
        names = ", ".join(one["name"] for one in containers)
        raise CallError(
            FailureKind.PERMANENT,
            "no_such_container",
            f"{shown} has no container {named!r:.80}; it has {names}: correct `container` in the target's binding",
        )
    return dict(found)


def _oldest_first(listed: Iterable[JsonObject]) -> list[JsonObject]:
    return sorted(listed, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
