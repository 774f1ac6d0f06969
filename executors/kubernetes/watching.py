"""Following objects as they change: one open request instead of asking again and again.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.discovery import Resource
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_LONGEST_REQUEST = 60.0
_SILENCE = 5.0
"""How much later than asked for a server may end a watch, before it counts as gone."""
_LONGEST_LINE = 8 * 1024 * 1024


class What(StrEnum):
    """What became of an object."""

    THERE = "there"
    GONE = "gone"
    ALL_TOLD = "all told"
    """All that there is has been told: at the beginning, and whenever the server had forgotten where we were. What was
    there before and has not been told since is gone."""


@dataclass(frozen=True)
class Seen:
    """One change, or that all has been told."""

    what: What
    thing: JsonObject


class Watch:
    """The objects of one kind, of a namespace or of all, from now on. For one thread."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        page: int = 500,
    ) -> None:
        self._cluster = cluster
        self._resource = resource
        self._path = resource.path(namespace)
        self._selecting: JsonObject = {"labelSelector": labels or None, "fieldSelector": fields or None}
        self._page = page
        self.version = ""
        """The state up to which everything has been told; a bookmark moves it on while nothing changes."""
        self.listed = 0
        """How often all objects were listed."""

    def changes(self, deadline: Deadline) -> Generator[Seen, None, None]:
        """All that there is, then each change, until the deadline. Raises CallError, but for a lost connection."""
        while deadline.left() > 0:
            try:
                if not self.version:
                    yield from self._all(deadline)
                yield from self.followed(deadline)
            except CallError as error:
                if error.code == "expired":
                    self.version = ""  # the server has forgotten this state: everything is listed anew
                elif error.kind is not FailureKind.TEMPORARY or error.code not in _LOST:
                    raise

    def _all(self, deadline: Deadline) -> Iterator[Seen]:
        self.listed += 1
        token, version = "", ""
        while True:
            query = {**self._selecting, "limit": self._page, "continue": token or None}
            answer = self._cluster.api.get(self._path, query, deadline=deadline).json()
            metadata = answer.get("metadata") or {}
            version = version or str(metadata.get("resourceVersion") or "")
            for item in answer.get("items") or ():
                yield Seen(What.THERE, self._named(item))
            token = str(metadata.get("continue") or "")
            if not token:
                break
        self.version = version
        yield Seen(What.ALL_TOLD, {})

    def followed(self, deadline: Deadline) -> Iterator[Seen]:
        """The changes since `version`, of one request. Raises CallError, `expired` among them."""
        seconds = max(1, math.ceil(min(_LONGEST_REQUEST, deadline.left())))
        query = {
            **self._selecting,
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self.version,
            "timeoutSeconds": seconds,
        }
        patience = Deadline(min(seconds, deadline.left()) + (_SILENCE if deadline.left() > seconds else 0.0))
        with self._cluster.api.opened("GET", self._path, query, deadline=patience) as response:
            for event in _lines(response):
                kind, thing = str(event.get("type")), event.get("object") or {}
                if kind == "ERROR":
                    raise self._ended(thing)
                self.version = str(thing["metadata"]["resourceVersion"])
                if kind in _KINDS:
                    yield Seen(_KINDS[kind], self._named(thing))

    def _named(self, thing: JsonObject) -> JsonObject:
        return {"apiVersion": self._resource.api_version, "kind": self._resource.kind, **thing}

    def _ended(self, status: JsonObject) -> CallError:
        gone = status.get("code") == HTTPStatus.GONE
        return CallError(
            FailureKind.TEMPORARY,
            "expired" if gone else "kubernetes_connection_lost",
            f"{self._cluster.where} ended a watch of {self._resource.plural}: {str(status.get('message'))[:300]}",
            detail={"status": status.get("code")},
        )


_KINDS = {"ADDED": What.THERE, "MODIFIED": What.THERE, "DELETED": What.GONE}
_LOST = frozenset({"kubernetes_timeout", "kubernetes_connection_lost", "expired"})


def changed(
    cluster: Cluster, resource: Resource, thing: JsonObject, seconds: float, deadline: Deadline
) -> JsonObject | None:
    """Wait until the object is another than `thing`, and return it.

    None when it was not within so many seconds, has gone, or the server cannot tell any more: then look again.
    Raises CallError.
    """
    metadata = thing["metadata"]
    watch = Watch(cluster, resource, metadata.get("namespace"), fields=f"metadata.name={metadata['name']}")
    watch.version = str(metadata["resourceVersion"])
    try:
        first = next(watch.followed(Deadline(min(seconds, deadline.left()))), None)
    except CallError as error:
        # That no time was left to ask is the same as that nothing came within it.
        if error.code not in (*_LOST, "deadline_exceeded"):
            raise
        return None
    return first.thing if first is not None and first.what is What.THERE else None


def _lines(response: Any) -> Iterator[JsonObject]:
    rest = b""
    for chunk in response.stream(65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise ValueError("a watched object is too large")
        for line in lines:
            if line.strip():
                found: JsonObject = json.loads(line)
                yield found
