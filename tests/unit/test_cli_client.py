"""The client of the command line against a server that breaks off, restarts, or is none of ours."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from uici.cli import client as client_module
from uici.cli.client import Client
from uici.model.errors import Problem

Answer = Callable[[BaseHTTPRequestHandler], None]


class Script:
    """A server that gives one prepared answer after another, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.asked.append((self.path, self.headers.get("Last-Event-ID")))
                answer = script.answers.pop(0) if script.answers else _status(500)
                answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.server.server_address[1]}", "token")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Script]]:
    scripts: list[Script] = []

    def start(*answers: Answer) -> Script:
        scripts.append(Script(*answers))
        return scripts[-1]

    yield start
    for script in scripts:
        script.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PAUSE_SECONDS", 0.01)


def _status(code: int) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.end_headers()

    return answer


def _json(document: Any) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.wfile.write(json.dumps(document).encode())

    return answer


def _event(number: int, type_: str = "call_sent") -> dict[str, Any]:
    return {"id": str(number), "type": f"uici.{type_}", "data": {}}


def _stream(position: int, *events: dict[str, Any], heartbeat: bool = False) -> Answer:
    """A stream that breaks off after these events."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(f"retry: 1000\nid: {position}\n\n".encode())
        for event in events:
            handler.wfile.write(f"id: {event['id']}\nevent: x\ndata: {json.dumps(event)}\n\n".encode())
        if heartbeat:
            handler.wfile.write(b": heartbeat\n\n")

    return answer


def test_a_run_is_followed_through_lost_connections(serve: Callable[..., Script]) -> None:
    script = serve(
        _stream(0, _event(1), _event(2)),
        _json({"state": "active"}),
        _status(503),
        _stream(2, _event(5, "run_ended")),
        _json({"state": "ended"}),
        _json({"state": "ended"}),
        _json({"events": [_event(6)]}),
    )
    assert [event["id"] for event in script.client.follow("/runs/run_1")] == ["1", "2", "5", "6"]
    streams = [position for path, position in script.asked if path.endswith("/events")]
    assert streams == [None, "2", "2"]


def test_an_incident_ends_with_its_last_event_although_its_stream_goes_on(serve: Callable[..., Script]) -> None:
    script = serve(
        _json({"state": "open"}),
        _stream(0, _event(1, "run_ended"), _event(2, "run_ended"), _event(3)),
        _json({"state": "open"}),
        _json({"state": "closed"}),
        _json({"state": "closed"}),
        _json({"events": []}),
    )
    assert [event["id"] for event in script.client.follow("/incidents/inc_1")] == ["1", "2"]
    assert script.asked[-1][0] == "/api/v1/events?incident=inc_1&after=2"


def test_an_incident_that_ended_without_an_event_is_noticed_at_a_heartbeat(serve: Callable[..., Script]) -> None:
    script = serve(
        _json({"state": "open"}), _stream(0, heartbeat=True), _json({"state": "closed"}), _json({"state": "closed"}),
        _json({"events": []}),
    )  # fmt: skip
    assert list(script.client.follow("/incidents/inc_1")) == []


def test_nothing_is_missed_when_the_connection_is_lost_before_the_first_event(serve: Callable[..., Script]) -> None:
    script = serve(_stream(41), _stream(41, _event(42)))
    assert next(script.client.follow_all(0))["id"] == "42"
    assert script.asked == [("/api/v1/events?tail=0", None), ("/api/v1/events?tail=0", "41")]


def test_a_server_that_stays_away_is_told(serve: Callable[..., Script], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_RECONNECT_SECONDS", 0.05)
    script = serve(_stream(0, _event(1)), *[_status(503)] * 200)
    events = script.client.follow_all(0)
    assert next(events)["id"] == "1"
    with pytest.raises(Problem, match="answered 503"):
        next(events)
