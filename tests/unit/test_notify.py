from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.sites import NOW
from uici.model.incident import Finding, Incident, IncidentState
from uici.model.settings import MessageKind
from uici.model.verdict import Verdict
from uici.notify.messages import Tried, incident_message
from uici.notify.notifiers import LogNotifier, WebhookNotifier
from uici.notify.wording import text_of


def _incident(**changes: Any) -> Incident:
    usual: dict[str, Any] = {
        "id": "inc-1", "key": "local/web", "environment": "local", "target": "web", "state": IncidentState.OPEN,
        "outcome": None, "reason": "", "opened_at": NOW, "closed_at": None, "severity": "critical",
        "title": "Down on web", "run_id": "run-1", "superseded_by": None,
    }  # fmt: skip
    return Incident(**{**usual, **changes})


def test_an_escalation_says_what_where_what_was_tried_why_and_what_to_do() -> None:
    message = incident_message(
        kind=MessageKind.ESCALATION,
        incident=_incident(),
        why="give-up: 3 runs did not help",
        findings=[Finding(name="oom_killed", summary="killed for memory", operation="s", evidence={"exit_code": 137})],
        tried=[Tried(remedy="restart", verdict=Verdict.INEFFECTIVE, undone=True), Tried(remedy="more_memory")],
        what_to_do=["raise the limit"],
    )
    assert message["where"] == {"environment": "local", "target": "web", "place": "local/web"}
    assert message["what"]["findings"][0]["evidence"] == {"exit_code": 137}
    assert [item["remedy"] for item in message["tried"]] == ["restart", "more_memory"]
    assert message["why"] == "give-up: 3 runs did not help"
    assert message["what_to_do"][0] == "raise the limit"
    for words in (
        "Down on web",
        "local/web",
        "3 runs",
        "oom_killed",
        "restart (ineffective, undone)",
        "raise the limit",
    ):
        assert words in text_of(message)
    json.dumps(message, allow_nan=False)


def test_an_incident_without_target_says_how_to_name_one() -> None:
    message = incident_message(
        kind=MessageKind.ESCALATION, incident=_incident(target=None, environment=None, run_id=None), why="no target"
    )
    assert "unknown environment/unknown target" in text_of(message)
    assert any("targets.yml" in step for step in message["what_to_do"])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (MessageKind.ESCALATION, "needs a human"),
        (MessageKind.REFUSED, "may not act"),
        (MessageKind.PROPOSAL, "proposes"),
    ],
)
def test_the_title_says_what_is_wanted_of_the_reader(kind: MessageKind, words: str) -> None:
    message = incident_message(kind=kind, incident=_incident(), why="because")
    assert message["kind"] == kind
    assert words in message["title"]
    assert message["title"] in text_of(message)


def test_the_log_is_told() -> None:
    with capture_logs() as logs:
        LogNotifier().send({"title": "x"})
    assert logs == [{"event": "human_told", "log_level": "warning", "notifier": "log", "message": {"title": "x"}}]


@contextmanager
def _receiver(status: int) -> Iterator[tuple[str, list[tuple[str, str | None, Any]]]]:
    got: list[tuple[str, str | None, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers.get("Content-Type"), json.loads(body)))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook/T0KEN-IN-URL", got
        finally:
            server.shutdown()
            thread.join()


def test_a_webhook_gets_the_message_as_json_once() -> None:
    with _receiver(204) as (url, got):
        WebhookNotifier(url, timeout=20).send({"title": "größer", "n": 1})
    assert got == [("/hook/T0KEN-IN-URL", "application/json", {"title": "größer", "n": 1})]


@pytest.mark.parametrize("status", [300, 302, 400, 429, 500])
def test_only_a_2xx_accepts(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="root")
    with _receiver(status) as (url, got), pytest.raises(OSError, match=str(status)) as caught:
        WebhookNotifier(url, timeout=20).send({})
    assert len(got) == 1
    assert "T0KEN" not in str(caught.value)
    assert "T0KEN" not in caplog.text


def test_a_receiver_that_is_gone_is_an_os_error_without_the_url() -> None:
    with _receiver(200) as (url, _):
        pass
    with pytest.raises(OSError, match="could not be reached") as caught:
        WebhookNotifier(url, timeout=20).send({})
    assert "T0KEN" not in str(caught.value)


def test_a_message_that_is_no_json_is_refused_before_it_is_sent() -> None:
    with _receiver(200) as (url, got), pytest.raises(ValueError, match="JSON"):
        WebhookNotifier(url, timeout=20).send({"x": float("nan")})
    assert got == []


@pytest.mark.parametrize("url", ["", "ftp://x/T0KEN", "http://", "T0KEN", "http://[bad/T0KEN"])
def test_what_is_no_web_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        WebhookNotifier(url, timeout=5)
    assert "T0KEN" not in str(caught.value)
