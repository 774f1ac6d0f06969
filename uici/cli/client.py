"""The client of the HTTP API. Every failure becomes a `Problem`, so the commands print all of them alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import IO
from urllib.parse import unquote, urlsplit

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
    429: ProblemKind.TOO_MANY,
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

    def download(self, path: str, file: IO[bytes]) -> None:
        """GET `path` below /api/v1 into `file`, piece by piece. Raises Problem."""
        try:
            with self._http.stream("GET", f"/api/v1{path}", headers={"Accept": "*/*"}) as response:
                if response.status_code >= 400:
                    response.read()
                    raise problem_of(response)
                for piece in response.iter_bytes():
                    file.write(piece)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def follow(self, path: str) -> Iterator[JsonObject]:
        """The events (CloudEvents) of a run or an incident, `/runs/ID` or `/incidents/ID`, from the beginning to its
        end, through lost connections. Raises Problem.
        """
        collection, _, id_ = path.lstrip("/").partition("/")
        if collection == "runs":
            return self._resuming(f"{path}/events", {}, lambda: self.get(path)["state"] == "ended")
        # Asked first, since the stream of an incident that is not there is merely silent.
        self.get(path)
        return self._resuming("/events", {"incident": unquote(id_)}, lambda: self.get(path)["state"] == "closed")

    def follow_all(self, tail: int) -> Iterator[JsonObject]:
        """All events from now on, after the `tail` newest; ends only by a Problem."""
        return self._resuming("/events", {"tail": tail}, None)

    def _resuming(self, path: str, query: JsonObject, over: Callable[[], bool] | None) -> Iterator[JsonObject]:
        """Events of a stream; a lost connection is made again where it broke. Ends when `over`. Raises Problem."""
        last = ""
        lost_at: float | None = None
        while True:
            try:
                for position, event in self._stream(path, query, last):
                    last, lost_at = position or last, None
                    if event is not None:
                        yield event
                    heartbeat = not position
                    if over is not None and (heartbeat or (event and _may_end(event))) and over():
                        break
                if over is not None and over():
                    # What was written before the end and is still on its way.
                    yield from self.get(path, **query, after=last or None)["events"]
                    return
                lost_at = None
            except (httpx.TransportError, Problem) as error:
                # The server may be restarting; what is watched goes on there, and its events wait.
                if isinstance(error, Problem) and error.kind is not ProblemKind.UNAVAILABLE:
                    raise
                lost_at = lost_at if lost_at is not None else time.monotonic()
                if time.monotonic() - lost_at > _RECONNECT_SECONDS:
                    raise error if isinstance(error, Problem) else self._unreachable(error) from error
            time.sleep(_PAUSE_SECONDS)

    def _stream(self, path: str, query: JsonObject, last: str) -> Iterator[tuple[str, JsonObject | None]]:
        """Events as they come, each with the position to resume at. Without a position it is a heartbeat."""
        fields: dict[str, str] = {}
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = httpx.Timeout(_TIMEOUT_SECONDS, read=_SILENCE_SECONDS)
        url = f"/api/v1{path}"
        with self._http.stream("GET", url, params=query, headers=headers, timeout=timeout) as response:
            if response.status_code >= 400:
                response.read()
                raise problem_of(response)
            for line in response.iter_lines():
                if line.startswith(":"):
                    yield "", None
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                else:
                    # One line of data per event is what the server writes; a position may come without any.
                    yield fields.get("id", ""), json.loads(fields["data"]) if "data" in fields else None
                    fields.clear()

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


def _may_end(event: JsonObject) -> bool:
    """Whether an event can be the last of its run or incident."""
    return str(event.get("type", "")).endswith(("_ended", "_merged", "_refused", "_closed"))


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
