"""One connection to one API server: requests with a deadline and a rate, each sent once."""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from executors.deadline import Deadline
from executors.kubernetes.clients import Client, new_client
from executors.kubernetes.failures import lost, refused
from executors.kubernetes.settings import KubernetesSettings
from executors.kubernetes.throttle import Throttle
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

MAX_ANSWER_BYTES = 32 * 1024 * 1024
FIELD_MANAGER = "uici"
JSON = "application/json"
_LEAST_SECONDS = 0.05
"""For a request that was begun in the last moment: no time at all is no timeout to the HTTP client."""


class RehearsalOverError(Exception):
    """What a call does from here on cannot be known beforehand; what it would have sent so far is."""


@dataclass(frozen=True)
class Answer:
    """What the API server answered: a success, always."""

    status: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str]
    truncated: bool = False

    def json(self) -> JsonObject:
        """The body, which is an object."""
        found: JsonObject = json.loads(self.content)
        return found


class Api:
    """Pooled and safe for several threads. The SDK is imported, and credentials are read, at the first request."""

    def __init__(self, settings: KubernetesSettings, environment: str) -> None:
        self.settings = settings
        self.environment = environment
        self._throttle = Throttle(settings.requests_per_second, settings.burst)
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._accepted = threading.local()

    @contextlib.contextmanager
    def one_call(self) -> Iterator[None]:
        """While inside, what fails after a change was accepted is never said to be surely not carried out.

        A call may send a change and then wait for its effect; when the wait fails for a reason that may pass, the same
        call must not be sent again as if nothing had happened.
        """
        self._accepted.any = False
        try:
            yield
        except CallError as error:
            if error.kind is not FailureKind.TEMPORARY or not self._accepted.any:
                raise
            message = f"{error.message}; before that a change of this call was accepted"
            raise CallError(FailureKind.UNKNOWN, error.code, message, detail=error.detail) from error

    @property
    def where(self) -> str:
        """For messages."""
        host = f" ({self._client.host})" if self._client is not None else ""
        return f"the API server of environment {self.environment!r}{host}"

    def client(self) -> Client:
        """The connected client. Raises CallError(PERMANENT) when there are no usable credentials."""
        with self._lock:
            if self._client is None:
                self._client = new_client(self.settings, self.environment)
            return self._client

    def close(self) -> None:
        """Close all connections; a later request reads the credentials anew."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def get(
        self,
        path: Sequence[str],
        query: Mapping[str, JsonValue] | None = None,
        *,
        deadline: Deadline | None = None,
        limit: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """A request that changes nothing. Raises CallError: TEMPORARY for whatever may pass."""
        return self.request("GET", path, query, deadline=deadline, limit=limit)

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
        """Send one request, once.

        Raises CallError: TEMPORARY when it was surely not carried out and may be later, or for reads whatever may
        pass; PERMANENT when it was refused; UNKNOWN when a change was sent and no clear answer came.
        """
        self.client()  # to load the SDK takes seconds on a busy machine, which are none of the API server's
        limits = self._bounded(deadline)
        with self.opened(
            method, path, query, body, mutates=mutates, content_type=content_type, deadline=limits
        ) as response:
            content, truncated = _read(response, limit, limits)
            return Answer(int(response.status), content, dict(response.headers), truncated)

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
        """While inside, the successful response (urllib3's) whose body has not been read. Raises as `request`.

        What breaks while the body is read inside is raised as a CallError too.
        """
        shown = f"{method} /{'/'.join(path)[:300]}"
        _refuse_bad(path)
        client = self.client()
        if not self._throttle.take(deadline) or deadline.left() == 0:
            raise CallError(
                FailureKind.TEMPORARY,
                "deadline_exceeded",
                f"no time was left to send {shown} to {self.where}; nothing was sent",
            )
        response = None
        try:
            response = self._sent(client, method, path, query, body, content_type, deadline)
            if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                content, _ = _read(response, 1_000_000, deadline)
                if response.status == HTTPStatus.UNAUTHORIZED:
                    self.close()  # renewed credentials are read with the next request
                raise refused(self.where, shown, int(response.status), content, mutates, body)
            self._accepted.any = mutates or getattr(self._accepted, "any", False)
            yield response
        except failures() as error:
            raise lost(self.where, error, mutates) from None
        finally:
            if response is not None:
                if not response.closed:
                    response.close()  # a connection with an unread rest cannot carry the next request
                response.release_conn()

    def now_waits(self) -> None:
        """From here on a call only waits for what it has sent to take effect; a rehearsal of it ends here."""

    def url(self, path: Sequence[str], query: Mapping[str, JsonValue] | None = None) -> str:
        """The whole address of a path."""
        pairs = _pairs(query or {})
        return (
            f"{self.client().host}/"
            + "/".join(quote(part, safe="") for part in path)
            + (f"?{urlencode(pairs)}" if pairs else "")
        )

    def _sent(
        self,
        client: Client,
        method: str,
        path: Sequence[str],
        query: Mapping[str, JsonValue] | None,
        body: JsonValue,
        content_type: str,
        deadline: Deadline,
    ) -> Any:
        timeout = importlib.import_module("urllib3").Timeout
        headers = {"Accept": JSON, "User-Agent": FIELD_MANAGER, **client.headers()}
        if body is not None:
            headers["Content-Type"] = content_type
        return client.pool.request(
            method,
            self.url(path, query),
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            # urllib3 repeats what it takes for idempotent, changes included; only a run decides about repeating.
            retries=False,
            redirect=False,
            preload_content=False,
            timeout=timeout(
                connect=max(_LEAST_SECONDS, min(self.settings.timeout_seconds, deadline.left())),
                read=max(_LEAST_SECONDS, deadline.left()),
            ),
        )

    def _bounded(self, deadline: Deadline | None) -> Deadline:
        if deadline is not None and deadline.left() < self.settings.timeout_seconds:
            return deadline
        return Deadline(self.settings.timeout_seconds)


def failures() -> tuple[type[Exception], ...]:
    """What a request that was not answered in order raises."""
    return (importlib.import_module("urllib3.exceptions").HTTPError, OSError)


def _refuse_bad(path: Sequence[str]) -> None:
    if any(part in ("", ".", "..") or "\0" in part or "/" in part for part in path):
        # Servers fold these away, so that another thing than the one written would be reached.
        raise CallError(FailureKind.PERMANENT, "bad_path", f"{path!r:.200} is no path: a segment names nothing")


def _pairs(query: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    def text(value: JsonValue) -> str:
        return ("true" if value else "false") if isinstance(value, bool) else str(value)

    pairs: list[tuple[str, str]] = []
    for key, value in query.items():
        if value is not None:
            pairs += [(key, text(one)) for one in (value if isinstance(value, list | tuple) else [value])]
    return pairs


def _read(response: Any, limit: int, deadline: Deadline) -> tuple[bytes, bool]:
    content = bytearray()
    for chunk in response.stream(65536):
        content += chunk
        if len(content) > limit:
            return bytes(content[:limit]), True
        if deadline.left() == 0:
            raise TimeoutError("the answer did not end")
    return bytes(content), False
