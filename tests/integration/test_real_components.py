"""Prometheus and Alertmanager as the tests start them do their part: a rule fires, a webhook arrives."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.real.alertmanager import Alertmanager, alertmanager, alertmanager_pair
from tests.real.components import free_port
from tests.real.process import ServerStartError, running
from tests.real.prometheus import prometheus, static_job

RULES = """
groups:
  - name: probe
    rules:
      - alert: ProbeDown
        expr: up{job="probe"} == 0
        labels: {severity: critical}
        annotations: {summary: the probe does not answer}
"""


@dataclass
class Receiver:
    url: str
    received: queue.Queue[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=queue.Queue)

    def next(self) -> tuple[dict[str, str], dict[str, Any]]:
        return self.received.get(timeout=60)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    port = free_port()
    result = Receiver(url=f"http://127.0.0.1:{port}/hook")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            result.received.put((dict(self.headers), json.loads(body)))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield result
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.component("prometheus", "alertmanager")
def test_a_rule_that_fires_reaches_the_webhook(tmp_path: Path, receiver: Receiver) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-the-test")
    config = Alertmanager.config_for(receiver.url, token_file=token)
    nobody = f"127.0.0.1:{free_port()}"
    with (
        alertmanager(tmp_path / "alertmanager", config) as am,
        prometheus(
            tmp_path / "prometheus", rules=RULES, scrape=[static_job("probe", nobody)], alertmanagers=[am.address]
        ) as prom,
    ):
        headers, body = receiver.next()
        assert [alert["labels"]["alertname"] for alert in prom.alerts()] == ["ProbeDown"]
        assert [sample["value"][1] for sample in prom.query('up{job="probe"}')] == ["0"]
        pids = [am.pid, prom.pid]
    assert headers["Authorization"] == "Bearer a-token-of-the-test"
    assert body["version"] == "4"
    assert body["status"] == "firing"
    (alert,) = body["alerts"]
    assert alert["labels"] == {"alertname": "ProbeDown", "instance": nobody, "job": "probe", "severity": "critical"}
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.component("alertmanager")
def test_two_peers_find_each_other(tmp_path: Path, receiver: Receiver) -> None:
    config = Alertmanager.config_for(receiver.url, basic_auth=("alertmanager", _password(tmp_path)))
    with alertmanager_pair(tmp_path, config) as (first, second):
        alert = {"labels": {"alertname": "FromOnePeer"}}
        first.post_alerts([alert])
        second.post_alerts([alert])
        headers, body = receiver.next()
        assert (first.peers(), second.peers()) == (2, 2)
        assert [known["labels"] for known in first.alerts()] == [alert["labels"]]
    assert headers["Authorization"].startswith("Basic ")
    assert body["alerts"][0]["labels"] == alert["labels"]


@pytest.mark.component("alertmanager")
def test_a_broken_configuration_is_told_with_the_servers_own_words(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match="undefined receiver"), alertmanager(tmp_path, "route: {receiver: x}\n"):
        pass


def test_a_server_that_ends_early_is_told_with_its_log(tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", "echo no such luck; exit 3"]
    with (
        pytest.raises(ServerStartError, match=r"status 3:\nno such luck"),
        running(argv, ready_url=f"http://127.0.0.1:{free_port()}/", log=tmp_path / "log"),
    ):
        pass


def _password(directory: Path) -> Path:
    path = directory / "password"
    path.write_text("a-password-of-the-test")
    return path
