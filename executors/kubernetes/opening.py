"""Carries out the calls that reach anything."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from executors.deadline import Deadline
from executors.kubernetes import open_calls
from executors.kubernetes.api import FIELD_MANAGER, JSON
from executors.kubernetes.cluster import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Cluster, selector_of
from executors.kubernetes.differences import without_secrets
from executors.kubernetes.discovery import Resource
from executors.kubernetes.open_calls import Exec, KubernetesRequest
from executors.kubernetes.open_guard import OpenGuard
from executors.kubernetes.publishing import Published
from executors.kubernetes.self_guard import SelfGuard
from executors.kubernetes.workloads import Workloads, container_of
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import CallError, FailureKind, Happened
from uici.model.errors import did_you_mean

MAX_OUTPUT = 65_536
_MAX_TEXT = 1024 * 1024
_PATCHES = {"merge": MERGE_PATCH, "strategic": STRATEGIC_PATCH, "json": JSON_PATCH}
_METHODS = {
    "create": "POST", "update": "PUT", "patch": "PATCH", "apply": "PATCH", "delete": "DELETE",
    "deletecollection": "DELETE",
}  # fmt: skip


class Opening:
    """The open calls. Implements `executors.kubernetes.parts.Part`."""

    published: ClassVar[Mapping[str, Published]] = open_calls.PUBLISHED

    def __init__(self, cluster: Cluster, workloads: Workloads, guard: SelfGuard, open_guard: OpenGuard) -> None:
        self._cluster = cluster
        self._workloads = workloads
        self._guard = guard
        self._open_guard = open_guard

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Carry out one call. Raises CallError."""
        if isinstance(arguments, KubernetesRequest):
            return self._request(arguments, deadline)
        return self._exec(cast(Exec, arguments), deadline)

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Nothing: no state can prove what reaches anything."""
        return {}

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """Unknown: no state can prove what reaches anything."""
        return Happened.UNKNOWN

    def _request(self, request: KubernetesRequest, deadline: Deadline) -> JsonObject:
        resource = self._resource(request, deadline)
        namespace = None
        if resource.namespaced and not request.all_namespaces:
            namespace = request.namespace or self._cluster.namespace
        expected = request.expect_status
        try:
            if request.verb == "list":
                found = self._listed(request, resource, namespace, deadline)
            elif request.verb == "get":
                found = self._got(request, resource, namespace, deadline)
            else:
                self._open_guard.check_request(request, resource, namespace, deadline)
                found = self._changed(request, resource, namespace, deadline)
        except CallError as error:
            status = error.detail.get("status") if isinstance(error.detail, dict) else None
            if expected is None or status not in expected:
                raise
            return {"status": status, "body": None, "truncated": False}
        if expected is not None and found["status"] not in expected:
            raise CallError(
                FailureKind.PERMANENT,
                "unexpected_status",
                f"{self._cluster.where} answered {found['status']} to {request.verb} of {resource.plural}, expected "
                f"{', '.join(map(str, expected))}",
                detail={"status": found["status"]},
            )
        return found

    def _listed(
        self, request: KubernetesRequest, resource: Resource, namespace: str | None, deadline: Deadline
    ) -> JsonObject:
        found = self._cluster.list(
            resource,
            namespace,
            labels=request.labels,
            fields=request.fields,
            page=min(500, request.limit + 1),
            deadline=deadline,
        )
        items = list(itertools.islice(found, request.limit + 1))
        shown = [_shown(item) for item in items[: request.limit]]
        return {"status": 200, "body": {"items": shown}, "truncated": len(items) > request.limit}

    def _got(
        self, request: KubernetesRequest, resource: Resource, namespace: str | None, deadline: Deadline
    ) -> JsonObject:
        path = resource.path(namespace, request.name, request.subresource)
        limit = {"limit": _MAX_TEXT} if request.subresource == "log" else {}
        answer = self._cluster.api.get(path, request.query, deadline=deadline, **limit)
        text = request.subresource == "log"
        body = answer.content.decode("utf-8", "replace") if text else _shown(answer.json())
        return {"status": answer.status, "body": body, "truncated": answer.truncated}

    def _changed(
        self, request: KubernetesRequest, resource: Resource, namespace: str | None, deadline: Deadline
    ) -> JsonObject:
        query: JsonObject = {"dryRun": "All" if request.dry_run else None}
        content_type, body = JSON, request.body
        if request.verb in ("delete", "deletecollection"):
            body = _delete_options(request)
            labels = request.labels if isinstance(request.labels, str | None) else selector_of(request.labels)
            query = {"labelSelector": labels or None, "fieldSelector": request.fields or None}
        else:
            query["fieldManager"] = FIELD_MANAGER
            body = _complete(request, resource, namespace)
        if request.verb == "patch":
            content_type = _PATCHES[request.patch_type]
        elif request.verb == "apply":
            content_type, query["force"] = APPLY_PATCH, request.force
        new = request.verb == "create" and request.subresource is None
        answer = self._cluster.api.request(
            _METHODS[request.verb],
            resource.path(namespace, None if new else request.name, request.subresource),
            query,
            body,
            mutates=not request.dry_run,
            content_type=content_type,
            deadline=deadline,
        )
        return {"status": answer.status, "body": _shown(answer.json()), "truncated": answer.truncated}

    def _resource(self, request: KubernetesRequest, deadline: Deadline) -> Resource:
        group, version = request.group, None
        if request.api_version is not None:
            group, _, version = request.api_version.rpartition("/")
        if request.kind is not None:
            return self._cluster.resource(request.kind, group, version)
        return self._by_plural(str(request.resource), group, version, deadline)

    def _by_plural(self, plural: str, group: str | None, version: str | None, deadline: Deadline) -> Resource:
        discovery = self._cluster.discovery
        groups = discovery.groups(deadline)
        seen: dict[str, Resource] = {}
        for name in groups if group is None else [group]:
            for one in groups.get(name, ()):
                if version in (None, one):
                    for found in discovery.of(name, one, deadline):
                        seen.setdefault(found.plural, found)
            if plural in seen:
                return seen[plural]
        raise CallError(
            FailureKind.PERMANENT,
            "kind_not_served",
            f"{self._cluster.where} serves no resource {plural!r:.100}{did_you_mean(plural, seen)}; install its "
            "CustomResourceDefinition, or correct the name",
        )

    def _exec(self, arguments: Exec, deadline: Deadline) -> JsonObject:
        binding = arguments.target
        self._guard.check_binding(binding)
        owner = self._workloads.required(binding, deadline)
        pods = self._workloads.pods(owner, deadline)
        for thing in (owner, *pods):
            self._guard.check_object(thing)
        pod = next((one for one in pods if _runs(one)), None)
        shown = self._workloads.shown(binding)
        if pod is None:
            raise CallError(
                FailureKind.PERMANENT, "not_running", f"no pod of {shown} runs at {self._cluster.where}; start it first"
            )
        output = self._cluster.exec(
            pod["metadata"]["namespace"],
            pod["metadata"]["name"],
            str(container_of(pod, binding, shown)["name"]),
            arguments.argv,
            deadline,
            stdin=None if arguments.stdin is None else arguments.stdin.encode(),
            limit=MAX_OUTPUT,
        )
        said = output.content.decode("utf-8", "replace")
        if output.timed_out or output.exit_code is None:
            why = "has not ended in time" if output.timed_out else "wrote more than is kept, and was left alone"
            raise CallError(
                FailureKind.UNKNOWN,
                "program_not_ended",
                f"the program in pod {pod['metadata']['name']!r} {why}; whether it did its work is not known",
            )
        if arguments.expect_exit is not None and output.exit_code not in arguments.expect_exit:
            wanted = ", ".join(str(code) for code in arguments.expect_exit)
            raise CallError(
                FailureKind.PERMANENT,
                "unexpected_exit",
                f"{arguments.argv[0]!r:.100} in pod {pod['metadata']['name']!r} ended with exit code "
                f"{output.exit_code}, expected {wanted}: {' '.join(said.split())[-600:] or 'it wrote nothing'}",
            )
        return {"exit_code": output.exit_code, "output": said, "truncated": False}


def _runs(pod: JsonObject) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def _shown(thing: JsonValue) -> JsonValue:
    """Without what nobody reads, and without what a Secret holds."""
    if not isinstance(thing, dict):
        return thing
    found: dict[str, Any] = dict(cast(JsonObject, without_secrets(thing)))
    if isinstance(found.get("items"), list):
        found["items"] = [_shown(item) for item in found["items"]]
    if isinstance(found.get("metadata"), dict):
        found["metadata"] = {name: value for name, value in found["metadata"].items() if name != "managedFields"}
    return found


def _complete(request: KubernetesRequest, resource: Resource, namespace: str | None) -> JsonValue:
    """The body; of a whole object with the kind and the place that the request has named already."""
    body = request.body
    if request.verb == "patch" or request.subresource is not None:
        return body
    metadata = dict(body.get("metadata") or {})
    if request.name is not None:
        metadata.setdefault("name", request.name)
    if namespace is not None:
        metadata.setdefault("namespace", namespace)
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body, "metadata": metadata}


def _delete_options(request: KubernetesRequest) -> JsonObject:
    preconditions = {"uid": request.uid, "resourceVersion": request.resource_version}
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {key: value for key, value in preconditions.items() if value} or None,
        "gracePeriodSeconds": request.grace_seconds,
        "propagationPolicy": request.propagation,
        "dryRun": ["All"] if request.dry_run else None,
    }
    return {key: value for key, value in options.items() if value is not None}
