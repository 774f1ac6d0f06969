"""One cluster: its objects as plain JSON, by kind, whatever versions it serves."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from executors.deadline import Deadline
from executors.diagnostics import Output
from executors.kubernetes.api import FIELD_MANAGER, JSON, Answer, Api
from executors.kubernetes.discovery import Discovery, Resource
from executors.kubernetes.settings import KubernetesSettings
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_DRY_RUN = "All"


class Cluster:
    """The one connection of an executor. Safe for several threads; every method raises CallError, as `Api.request`."""

    def __init__(self, settings: KubernetesSettings, environment: str) -> None:
        self.settings = settings
        self.environment = environment
        self.api = Api(settings, environment)
        self.discovery = Discovery(self.api)

    @property
    def where(self) -> str:
        """For messages."""
        return self.api.where

    @property
    def namespace(self) -> str:
        """Of what names none."""
        return self.api.client().namespace

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self.api.close()

    def version(self, deadline: Deadline | None = None) -> JsonObject:
        """What the server says of itself: `gitVersion`, `major`, `minor` and more."""
        return self.api.get(("version",), deadline=deadline).json()

    def resource(self, kind: str, group: str | None = None, version: str | None = None) -> Resource:
        """How the cluster serves a kind, in its newest version. Raises CallError(PERMANENT, `kind_not_served`)."""
        return self.discovery.resource(kind, group, version)

    def get(self, resource: Resource, namespace: str | None, name: str, deadline: Deadline) -> JsonObject:
        """One object. Raises CallError(PERMANENT, `object_not_found`)."""
        return self.api.get(resource.path(namespace, name), deadline=deadline).json()

    def find(self, resource: Resource, namespace: str | None, name: str, deadline: Deadline) -> JsonObject | None:
        """One object, or None when there is none."""
        try:
            return self.get(resource, namespace, name, deadline)
        except CallError as error:
            if error.code == "object_not_found":
                return None
            raise

    def list(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str | Mapping[str, str] | None = None,
        fields: str | None = None,
        page: int = 500,
        deadline: Deadline,
    ) -> Iterator[JsonObject]:
        """All objects, of one namespace or (None) of all, asked for page by page, so that one page is in memory.

        What is created or deleted meanwhile may or may not be among them; everything else is, once.
        """
        selector = labels if isinstance(labels, str | None) else selector_of(labels)
        token, last = "", ""
        while True:
            query: JsonObject = {"limit": page, "labelSelector": selector or None, "fieldSelector": fields or None}
            try:
                answer = self.api.get(
                    resource.path(namespace), {**query, "continue": token or None}, deadline=deadline
                ).json()
            except CallError as error:
                if error.code != "expired" or not token:
                    raise
                # The server has forgotten the state that the pages were of. It may give a token to go on with among
                # the objects of now; else they are listed anew, in the same order, and those seen are passed over.
                token = str((error.detail or {}).get("continue") or "")
                continue
            for item in answer.get("items") or ():
                key = key_of(item)
                if key > last:
                    last = key
                    yield {"apiVersion": resource.api_version, "kind": resource.kind, **item}
            token = str((answer.get("metadata") or {}).get("continue") or "")
            if not token:
                return

    def create(
        self, resource: Resource, namespace: str | None, body: JsonObject, deadline: Deadline, dry_run: bool = False
    ) -> JsonObject:
        """Create an object; what the server made of it. With `dry_run` the server only says what it would make."""
        return self._send("POST", resource.path(namespace), body, deadline, dry_run=dry_run)

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: JsonValue,
        deadline: Deadline,
        *,
        content_type: str = MERGE_PATCH,
        dry_run: bool = False,
        subresource: str | None = None,
        force: bool = False,
    ) -> JsonObject:
        """Change an object. With a `metadata.resourceVersion` in the body, a CallError `conflict` if it has changed."""
        path = resource.path(namespace, name, subresource)
        query: JsonObject = {"force": True} if force else {}
        return self._send("PATCH", path, body, deadline, query, content_type=content_type, dry_run=dry_run)

    def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: JsonObject,
        deadline: Deadline,
        *,
        dry_run: bool = False,
        force: bool = False,
    ) -> JsonObject:
        """Server-side apply as the field manager `uici`; without `force`, others' fields are a CallError `conflict`."""
        return self.patch(
            resource, namespace, name, body, deadline, content_type=APPLY_PATCH, dry_run=dry_run, force=force
        )

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        deadline: Deadline,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace: int | None = None,
        propagation: str | None = None,
        dry_run: bool = False,
    ) -> JsonObject:
        """Delete an object; with `uid` only that one, never another that has taken its name meanwhile."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {key: value for key, value in preconditions.items() if value} or None,
            "gracePeriodSeconds": grace,
            "propagationPolicy": propagation,
            "dryRun": [_DRY_RUN] if dry_run else None,
        }
        body = {key: value for key, value in options.items() if value is not None}
        return self.api.request(
            "DELETE", resource.path(namespace, name), None, body, mutates=not dry_run, deadline=deadline
        ).json()

    def subresource(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        subresource: str,
        body: JsonObject,
        deadline: Deadline,
        dry_run: bool = False,
        method: str = "POST",
    ) -> JsonObject:
        """Post to a subresource (an eviction), or put it (`scale`, `status`)."""
        return self._send(method, resource.path(namespace, name, subresource), body, deadline, dry_run=dry_run)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        deadline: Deadline,
        *,
        lines: int,
        previous: bool = False,
        timestamps: bool = True,
        limit_bytes: int = 8 * 1024 * 1024,
    ) -> Answer:
        """The last lines of one container, or of the one before its last restart."""
        query: JsonObject = {
            "container": container,
            "tailLines": lines,
            "timestamps": timestamps,
            "previous": previous,
        }
        path = self.resource("Pod").path(namespace, pod, "log")
        return self.api.get(path, query, deadline=deadline, limit=limit_bytes)

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        argv: Sequence[str],
        deadline: Deadline,
        *,
        stdin: bytes | None = None,
        limit: int = 65_536,
        mutates: bool = True,
    ) -> Output:
        """Run a program in a container, no shell between, until it ends, has written `limit` bytes, or time is over.

        What goes on running after that is the caller's to end.
        """
        channels: Any = importlib.import_module("executors.kubernetes.channels")
        path = self.resource("Pod").path(namespace, pod, "exec")
        found: Output = channels.run(self.api, path, container, argv, deadline, stdin, limit, mutates)
        return found

    def _send(
        self,
        method: str,
        path: Sequence[str],
        body: JsonValue,
        deadline: Deadline,
        query: JsonObject | None = None,
        *,
        content_type: str = JSON,
        dry_run: bool = False,
    ) -> JsonObject:
        asked = {**(query or {}), "fieldManager": FIELD_MANAGER, "dryRun": _DRY_RUN if dry_run else None}
        return self.api.request(
            method, path, asked, body, mutates=not dry_run, content_type=content_type, deadline=deadline
        ).json()


def selector_of(labels: Mapping[str, str]) -> str:
    """A label selector that all of these labels fit."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def key_of(item: JsonObject) -> str:
    """By which the server orders what it lists."""
    metadata = item.get("metadata") or {}
    return f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
