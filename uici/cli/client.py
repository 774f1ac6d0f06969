"""The client of the HTTP API. Every failure becomes a `Problem`, so the commands print all of them alike."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx

from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind

_TIMEOUT_SECONDS = 60.0
_SILENCE_SECONDS = 45.0
"""Three heartbeats of a stream; after that the connection is taken for dead."""
_RECONNECT_SECONDS = 30.0
_PAUSE_SECONDS = 0.5

_KIND = {
    400: ProblemKind.INVALID,
    401: ProblemKind.UNAUTHENTICATED,
    403: ProblemKind.FORBIDDEN,
    404: ProblemKind.NOT_FOUND,
    405: ProblemKind.INVALID,
    409: ProblemKind.CONFLICT,
    413: ProblemKind.TOO_LARGE,
    422: ProblemKind.UNPROCESSABLE,
}


class Client:
    """Requests to one server with one token."""

    def __init__(self, server: str, token: str) -> None:
        """Raises Problem for what is no URL of a server, or no token that could be sent."""
        parts = urlsplit(server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Problem(
                ProblemKind.INVALID, "invalid_server", f"{server!r} is not the URL of a server", where="--server",
                allowed=("http://HOST:PORT", "https://HOST"),
            )  # fmt: skip
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise Problem(ProblemKind.UNAUTHENTICATED, "invalid_token", "this is not a token", where="--token")
        self._server = server.rstrip("/")
        self._http = httpx.Client(
            base_url=self._server,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=_TIMEOUT_SECONDS,
            # A proxy for the world outside cannot reach this machine's own ports.
            trust_env=parts.hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    def get(self, path: str, **query: str | int | None) -> JsonObject:
        """GET `path` below /api/v1. Raises Problem."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._answer("GET", path, params=given)

    def post(self, path: str, body: JsonObject, **query: str | None) -> JsonObject:
        """POST `body` as JSON. Raises Problem."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._answer("POST", path, params=given, json=body)

    def follow(self, run_id: str) -> Iterator[JsonObject]:
        """The run's events (CloudEvents) from the beginning to its end, through lost connections. Raises Problem."""
        path = f"/runs/{segment(run_id)}"
        last = ""
        lost_at: float | None = None
        while True:
            try:
                for event in self._stream(f"{path}/events", last):
                    last = str(event["id"])
                    lost_at = None
                    yield event
                if self.get(path)["state"] == "ended":
                    return
                lost_at = None
            except (httpx.TransportError, Problem) as error:
                # The server may be restarting; the run goes on there, and its events wait.
                if isinstance(error, Problem) and error.kind is not ProblemKind.UNAVAILABLE:
                    raise
                lost_at = lost_at if lost_at is not None else time.monotonic()
                if time.monotonic() - lost_at > _RECONNECT_SECONDS:
                    raise error if isinstance(error, Problem) else self._unreachable(error) from error
            time.sleep(_PAUSE_SECONDS)

    def _stream(self, path: str, last: str) -> Iterator[JsonObject]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = httpx.Timeout(_TIMEOUT_SECONDS, read=_SILENCE_SECONDS)
        with self._http.stream("GET", f"/api/v1{path}", headers=headers, timeout=timeout) as response:
            if response.status_code >= 400:
                response.read()
                raise problem_of(response)
            for line in response.iter_lines():
                # One line of data per event is what the server writes.
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _answer(self, method: str, path: str, *, params: JsonObject, json: JsonValue = None) -> JsonObject:
        try:
            response = self._http.request(method, f"/api/v1{path}", params=params, json=json)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        if response.status_code >= 400:
            raise problem_of(response)
        try:
            answer: JsonObject = response.json()
        except ValueError:
            raise self._foreign(response) from None
        if not isinstance(answer, dict):
            raise self._foreign(response)
        return answer

    def _unreachable(self, error: httpx.TransportError) -> Problem:
        return Problem(
            ProblemKind.UNAVAILABLE,
            "unreachable",
            f"{self._server} cannot be reached: {error or type(error).__name__}",
            where="--server",
            hint="is `uici serve` running there? --server or UICI_URL names another",
        )

    def _foreign(self, response: httpx.Response) -> Problem:
        return Problem(
            ProblemKind.UNAVAILABLE, "not_uici", f"{response.url} answered what uici would not", where="--server"
        )


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")


def problem_of(response: httpx.Response) -> Problem:
    """The problem that an error response tells of; also of one that is not ours, from a proxy for example."""
    kind = _KIND.get(response.status_code, ProblemKind.UNAVAILABLE)
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or "detail" not in document:
        return Problem(kind, "http_error", f"{response.url} answered {response.status_code}")
    return Problem(
        kind,
        str(document.get("code", "http_error")),
        str(document["detail"]),
        where=str(document.get("where", "")),
        allowed=[str(each) for each in document.get("allowed", ())],
        hint=str(document.get("hint", "")),
        errors=tuple(each for each in document.get("errors", ()) if isinstance(each, dict)),
    )
