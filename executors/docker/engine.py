"""One connection to one Docker engine: requests with a deadline, and what their failures mean."""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from executors.deadline import Deadline
from executors.docker.clients import new_client
from executors.docker.connection import DockerSettings
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

if TYPE_CHECKING:
    from executors.docker.stream import Stream

MAX_ANSWER_BYTES = 8 * 1024 * 1024
NEWEST_API = "1.47"
LEAST_API = "1.24"
"""The oldest that the requests of this package are part of: https://docs.docker.com/reference/api/engine/version/v1.24/"""
# The engine answers 500 to these although nothing was begun, or what was begun has been taken back.
_EVIDENTLY_NOT_DONE = (
    "port is already allocated",
    "address already in use",
    "oci runtime create failed",
    "failed to create task",
    "failed to create shim",
    "executable file not found",
    "no such image",
)
_NOT_SENT = (ConnectionRefusedError, FileNotFoundError, PermissionError, NotADirectoryError)


@dataclass(frozen=True)
class Answer:
    """What the engine answered: a success, always."""

    status: int
    content: bytes
    truncated: bool = False

    def json(self) -> Any:
        """The body as JSON; None when it is empty or is none."""
        try:
            return json.loads(self.content) if self.content.strip() else None
        except ValueError:
            return None


class Engine:
    """Pooled and safe for several threads. The SDK is imported, and the engine asked, at the first request."""

    def __init__(self, settings: DockerSettings, environment: str) -> None:
        self.settings = settings
        self.environment = environment
        self._client: Any = None
        self._version = ""
        self._totals: tuple[int, int] | None = None
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """For messages."""
        return f"the Docker engine of environment {self.environment!r} ({self.settings.base_url})"

    def close(self) -> None:
        """Close all connections; a later request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def api_version(self) -> tuple[int, int]:
        """The API version spoken, for example (1, 41). Raises CallError when the engine cannot be asked."""
        self._connected()
        major, minor = self._version.split(".")[:2]
        return int(major), int(minor)

    def totals(self) -> tuple[int, int]:
        """CPUs and bytes of memory of the engine's machine: a limit as high as these is none."""
        if self._totals is None:
            info = self.get(("info",)).json() or {}
            self._totals = int(info.get("NCPU") or 0), int(info.get("MemTotal") or 0)
        return self._totals

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

    def post(
        self,
        path: Sequence[str],
        query: Mapping[str, JsonValue] | None = None,
        body: JsonValue = None,
        *,
        deadline: Deadline | None = None,
        extra_seconds: float = 0.0,
        secrets: Iterable[str] = (),
    ) -> Answer:
        """A request that changes something; see `request`."""
        return self.request(
            "POST", path, query, body, mutates=True, deadline=deadline, extra_seconds=extra_seconds, secrets=secrets
        )

    def delete(self, path: Sequence[str], query: Mapping[str, JsonValue] | None = None) -> Answer:
        """A request that removes something; see `request`."""
        return self.request("DELETE", path, query, mutates=True)

    def request(
        self,
        method: str,
        path: Sequence[str],
        query: Mapping[str, JsonValue] | None = None,
        body: JsonValue = None,
        *,
        mutates: bool = False,
        deadline: Deadline | None = None,
        extra_seconds: float = 0.0,
        limit: int = MAX_ANSWER_BYTES,
        secrets: Iterable[str] = (),
    ) -> Answer:
        """Send one request, once.

        `extra_seconds` is what the engine is told to wait itself (a stop's grace); `secrets` are values to keep
        out of messages. Raises CallError: TEMPORARY when nothing was sent, or for reads whatever may pass;
        PERMANENT when the engine refused; UNKNOWN when a change was sent and no clear answer came.
        """
        wait = self.settings.timeout_seconds + extra_seconds
        limits = deadline if deadline is not None and deadline.left() < wait else Deadline(wait)
        try:
            with self._sent(method, path, query, body, limits, {}) as response:
                content, truncated = self._read(response, limit, limits)
                status = int(response.status_code)
        except _failures() as error:
            raise self._lost(error, mutates) from None
        if status >= HTTPStatus.MULTIPLE_CHOICES and status != HTTPStatus.NOT_MODIFIED:
            raise self._refused(method, path, status, content, mutates, secrets)
        return Answer(status, content, truncated)

    @contextlib.contextmanager
    def attached(
        self, path: Sequence[str], body: JsonValue, deadline: Deadline, mutates: bool, secrets: Iterable[str]
    ) -> Iterator[Stream]:
        """Post a request that turns its connection into a stream; while inside, the stream. Raises as `request`."""
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        stream = importlib.import_module("executors.docker.stream").Stream
        try:
            with self._sent("POST", path, None, body, deadline, upgrade) as response:
                status = int(response.status_code)
                if status >= HTTPStatus.MULTIPLE_CHOICES:
                    content, _ = self._read(response, MAX_ANSWER_BYTES, deadline)
                    raise self._refused("POST", path, status, content, mutates, secrets)
                yield stream(response)
        except _failures() as error:
            raise self._lost(error, mutates) from None

    def _sent(
        self,
        method: str,
        path: Sequence[str],
        query: Mapping[str, JsonValue] | None,
        body: JsonValue,
        deadline: Deadline,
        headers: Mapping[str, str],
    ) -> Any:
        """The response whose headers have come; its body has not been read."""
        if any(part in ("", ".", "..") or "\0" in part for part in path):
            # HTTP clients and servers fold these away, so that another thing than the one written would be reached.
            raise CallError(FailureKind.PERMANENT, "bad_path", f"{path!r:.200} is no path: a segment names nothing")
        client = self._connected()
        if deadline.left() == 0:
            raise CallError(FailureKind.TEMPORARY, "deadline_exceeded", f"no time was left to ask {self.where}")
        return client.request(
            method,
            f"{client.base_url}/v{self._version}/" + "/".join(quote(part, safe="") for part in path),
            params=_query(query),
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json", **headers},
            timeout=(self.settings.timeout_seconds, max(0.05, deadline.left())),
            stream=True,
            allow_redirects=False,
        )

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                client = new_client(self.settings, self.environment, self.where)
                try:
                    self._version = self._spoken(client)
                except CallError:
                    client.close()
                    raise
                self._client = client
            return self._client

    def _spoken(self, client: Any) -> str:
        """The API version to speak. Nothing of a call itself has been sent yet, so any failure is temporary."""
        if self.settings.api_version != "auto":
            return self.settings.api_version
        failures = importlib.import_module("requests.exceptions")
        content = b""
        try:
            with client.request("GET", f"{client.base_url}/version", timeout=self.settings.timeout_seconds) as answer:
                content = answer.content
                version = _understood(json.loads(content)) if answer.ok else None
        except (failures.RequestException, OSError) as error:
            raise self._on_the_way(error, sent=False) or self._unreachable(error) from None
        except (ValueError, KeyError, TypeError):
            version = None
        if version is None and b"HTTP request to an HTTPS server" in content:
            raise CallError(
                FailureKind.PERMANENT, "tls_needed", f"{self.where} speaks TLS only; give the connection `tls`"
            )
        if not isinstance(version, str):
            raise CallError(
                FailureKind.TEMPORARY, "docker_unreachable", f"{self.where} did not say which API version it speaks"
            )
        return version

    def _read(self, response: Any, limit: int, deadline: Deadline) -> tuple[bytes, bool]:
        content = bytearray()
        for chunk in response.iter_content(65536):
            content += chunk
            if len(content) > limit:
                return bytes(content[:limit]), True
            if deadline.left() == 0:
                raise TimeoutError("the answer did not end")
        return bytes(content), False

    def _on_the_way(self, error: BaseException, *, sent: bool) -> CallError | None:
        """What TLS or ssh refused before the engine could look at anything; None when neither did, or who knows.

        `sent` tells that a call's request may have been under way, and not only a question before it.
        """
        chain = _chain(error)
        told = next((link for link in chain if isinstance(link, CallError)), None)
        if told is not None:
            return CallError(told.kind, told.code, f"{self.where} cannot be reached: {told.message}")
        if not self.settings.uses_tls:
            return None
        refused: CallError | None = importlib.import_module("executors.docker.tls").refusal(chain, self.where, sent)
        return refused

    def _unreachable(self, error: BaseException) -> CallError:
        reason = _root(error)
        return CallError(
            FailureKind.TEMPORARY,
            "docker_unreachable",
            f"{self.where} cannot be reached: {type(reason).__name__}: {str(reason)[:200]}; "
            "check that it runs and that UICI may open its socket"
            # Its refusal of a certificate may be lost behind the end of the connection.
            + (", and that it accepts UICI's tls.certificate" if self.settings.uses_tls else ""),
        )

    def _lost(self, error: BaseException, mutates: bool) -> CallError:
        refused = self._on_the_way(error, sent=True)
        if refused is not None:
            self.close()  # renewed certificates are read with the next connection
            return refused
        names = {type(link).__name__ for link in _chain(error)}
        if any(isinstance(link, _NOT_SENT) for link in _chain(error)) or names & {
            "NewConnectionError",
            "ConnectTimeout",
            "ConnectTimeoutError",
            "NameResolutionError",
        }:
            return self._unreachable(error)
        timed_out = bool(names & {"ReadTimeout", "ReadTimeoutError", "TimeoutError"})
        code = "docker_timeout" if timed_out else "docker_connection_lost"
        what = "gave no whole answer in time" if timed_out else "ended the connection before it answered"
        if mutates:
            return CallError(
                FailureKind.UNKNOWN, code, f"{self.where} {what}; whether it carried the request out is not known"
            )
        return CallError(FailureKind.TEMPORARY, code, f"{self.where} {what}; nothing was asked to change")

    def _refused(
        self, method: str, path: Sequence[str], status: int, content: bytes, mutates: bool, secrets: Iterable[str]
    ) -> CallError:
        said = _message(content)
        for secret in sorted(set(secrets), key=len, reverse=True):
            if len(secret) > 2:  # shorter ones would mask half of every sentence and hide nothing
                said = said.replace(secret, "***")
        text = f"{self.where} answered {status} to {method} /{'/'.join(path)[:200]}: {said}"
        detail: JsonObject = {"status": status}
        if status == HTTPStatus.NOT_FOUND:
            return CallError(FailureKind.PERMANENT, _missing(path, said), text, detail=detail)
        if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
            return CallError(FailureKind.TEMPORARY, "docker_busy", text, detail=detail)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            return CallError(FailureKind.PERMANENT, "docker_not_supported", text, detail=detail)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            if any(sign in said.lower() for sign in _EVIDENTLY_NOT_DONE):
                return CallError(FailureKind.PERMANENT, "docker_failed", text, detail=detail)
            kind = FailureKind.UNKNOWN if mutates else FailureKind.TEMPORARY
            return CallError(kind, "docker_error", text, detail=detail)
        codes = {HTTPStatus.CONFLICT: "docker_conflict", HTTPStatus.FORBIDDEN: "docker_not_permitted"}
        return CallError(FailureKind.PERMANENT, codes.get(HTTPStatus(status), "docker_refused"), text, detail=detail)


def _failures() -> tuple[type[Exception], ...]:
    """What a request that was not answered in order raises."""
    return (importlib.import_module("requests.exceptions").RequestException, OSError)


def _understood(said: JsonObject) -> str:
    """The engine's own version, or the newest that this code was written for, unless the engine knows it no more."""
    own, least = str(said["ApiVersion"]), str(said.get("MinAPIVersion") or LEAST_API)
    return min(own, max(NEWEST_API, least, key=_parts), key=_parts)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _missing(path: Sequence[str], said: str) -> str:
    if "no such image" in said.lower() or path[0] == "images":
        return "image_not_found"
    return "container_not_found" if path[0] == "containers" else "not_found"


def _query(query: Mapping[str, JsonValue] | None) -> dict[str, str]:
    def text(value: JsonValue) -> str:
        if isinstance(value, bool):
            return "1" if value else "0"
        return json.dumps(value) if isinstance(value, dict | list) else str(value)

    return {key: text(value) for key, value in (query or {}).items()}


def _message(content: bytes) -> str:
    text = content.decode("utf-8", "replace").strip()
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if isinstance(said, dict) and isinstance(said.get("message"), str):
        text = said["message"]
    return " ".join(text.split())[:600] or "no reason given"


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error, its causes and contexts, and the errors that urllib3 keeps among the arguments."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop(0)
        if link is None or link in found:
            continue
        found.append(link)
        more = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        waiting += [part for part in more if isinstance(part, BaseException)]
    return found


def _root(error: BaseException) -> BaseException:
    chain = _chain(error)
    return next((link for link in chain if isinstance(link, OSError) and link.errno is not None), chain[-1])
