"""The connection of a rehearsal: whatever is not surely a look goes out as a dry run, and what it would change is kept.

It stands where every request passes, so that a call rehearses by the very code that performs it, and no call, written
now or later, can change anything while it does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes.api import JSON, MAX_ANSWER_BYTES, Answer, Api, RehearsalOverError
from executors.kubernetes.clients import Client
from executors.kubernetes.open_calls import LIVE
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

_POSTED_ONLY = frozenset({"eviction", "binding", "token"})
_SELECTING = ("labelSelector", "fieldSelector")
_DRY_RUN = "All"
_UNSUPPORTED = "does not support dry run"


@dataclass(frozen=True)
class Asked:
    """One request that would change something: the object now, and as the API server says that it would be."""

    path: tuple[str, ...]
    before: JsonObject | None
    after: JsonObject | None
    refusal: CallError | None = None


class DryRun(Api):
    """The same connection, on which nothing can be changed. For one rehearsal, in one thread."""

    def __init__(self, real: Api) -> None:
        super().__init__(real.settings, real.environment)
        self._real = real
        self._throttle = real._throttle
        self.asked: list[Asked] = []
        self.warnings: list[str] = []

    @property
    def where(self) -> str:
        """For messages."""
        return self._real.where

    def client(self) -> Client:
        """The connection that all share."""
        return self._real.client()

    def close(self) -> None:
        """Let credentials be read anew; the connection is everybody's."""
        self._real.close()

    def url(self, path: Sequence[str], query: Mapping[str, JsonValue] | None = None) -> str:
        """The whole address of a path. Raises RehearsalOverError for what would reach into a container."""
        if LIVE.intersection(path[-2:]):
            raise RehearsalOverError("a program in a container is not started to see what it would do")
        return super().url(path, query)

    @contextlib.contextmanager
    def opened(
        self,
        method: str,
        path: Sequence[str],
        query: Mapping[str, JsonValue] | None = None,
        body: JsonValue = None,
        *,
        mutates: bool = False,
        content_type: str = JSON,
        deadline: Deadline,
    ) -> Iterator[Any]:
        """As `Api.opened`; what is no GET is a dry run."""
        if method != "GET":
            query, body = {**(query or {}), "dryRun": _DRY_RUN}, _dry(method, path, body)
        with super().opened(
            method, path, query, body, mutates=False, content_type=content_type, deadline=deadline
        ) as response:
            for warning in response.headers.getlist("Warning"):
                self._warn(warning)
            yield response

    def request(
        self,
        method: str,
        path: Sequence[str],
        query: Mapping[str, JsonValue] | None = None,
        body: JsonValue = None,
        *,
        mutates: bool = False,
        content_type: str = JSON,
        deadline: Deadline | None = None,
        limit: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """As `Api.request`; what would be changed is kept, and so is what is refused."""
        if method == "GET":
            return super().request(method, path, query, body, content_type=content_type, deadline=deadline, limit=limit)
        before = self._present(method, path, query or {}, deadline)
        try:
            answer = super().request(
                method, path, query, body, content_type=content_type, deadline=deadline, limit=limit
            )
        except CallError as error:
            if _UNSUPPORTED in error.message:
                raise CallError(FailureKind.TEMPORARY, "dry_run_unsupported", error.message) from None
            self.asked.append(Asked(tuple(path), before, None, error))
            raise
        gone = method == "DELETE" or path[-1] == "eviction"
        self.asked.append(Asked(tuple(path), before, None if gone else answer.json()))
        return answer

    def now_waits(self) -> None:
        """Nothing was changed, so there is nothing to wait for."""
        raise RehearsalOverError

    def _present(
        self, method: str, path: Sequence[str], query: Mapping[str, JsonValue], deadline: Deadline | None
    ) -> JsonObject | None:
        """The object that the request is about, or the list; None where it is about none that is there."""
        if path[-1] in _POSTED_ONLY:
            path = path[:-1]
        elif method == "POST":
            return None
        try:
            return self.get(path, {name: query.get(name) for name in _SELECTING}, deadline=deadline).json()
        except CallError as error:
            # To delete something nobody needs to be allowed to look at it.
            if error.code not in ("object_not_found", "forbidden"):
                raise
            return None

    def _warn(self, header: str) -> None:
        """Keep what the API server says beside: `299 - "policy/v1beta1 PodDisruptionBudget is deprecated"`."""
        text = header.partition('"')[2].rpartition('"')[0]
        if text and text not in self.warnings:
            self.warnings.append(text)


def _dry(method: str, path: Sequence[str], body: JsonValue) -> JsonValue:
    """The body, in which options go before those of the address: where there is a body, only it is read for them."""
    if method == "DELETE":
        return {"apiVersion": "v1", "kind": "DeleteOptions", **(body or {}), "dryRun": [_DRY_RUN]}
    if path[-1] == "eviction":
        return {**body, "deleteOptions": {**(body.get("deleteOptions") or {}), "dryRun": [_DRY_RUN]}}
    return body
