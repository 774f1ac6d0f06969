"""The shipped alertmanager.yml in a real Alertmanager, before a running UICI: who is told of what."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Server, write_site
from tests.real.alertmanager import alertmanager
from tests.real.components import REPOSITORY
from tests.waiting import until
from uici.access.roles import Role

FILE = REPOSITORY / "infrastructure" / "monitoring" / "alertmanager" / "alertmanager.yml"


@contextmanager
def people() -> Iterator[tuple[str, list[str]]]:
    """Where people are told: its URL, and `receiver:alertname` of what came."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.extend(f"{body['receiver']}:{item['labels']['alertname']}" for item in body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", told
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.component("alertmanager")
def test_people_hear_of_uici_and_uici_hears_of_services(tmp_path: Path) -> None:
    config = write_site(tmp_path / "site", policies={"autonomy": "observe"})
    token = tmp_path / "token"
    with Server(config) as uici, people() as (url, told):
        token.write_text(uici.tokens[Role.ALERTMANAGER])
        text = FILE.read_text()
        for theirs, ours in (
            ("http://127.0.0.1:8765", uici.url),
            ("/etc/alertmanager/uici.token", str(token)),
            ("http://127.0.0.1:9099", url),
        ):
            assert theirs in text
            text = text.replace(theirs, ours)
        with alertmanager(tmp_path / "alertmanager", text) as server:
            server.post_alerts(
                [
                    {"labels": {"alertname": "UiciDown", "severity": "page", "uici_target": "uici", "job": "uici"}},
                    {"labels": {"alertname": "ServiceDown", "severity": "critical", "job": "shop"}},
                    # Inhibited by the one above.
                    {"labels": {"alertname": "ServiceHighLatency", "severity": "warning", "job": "shop"}},
                    {"labels": {"alertname": "ServiceHighCpu", "severity": "warning", "job": "web"}},
                    {"labels": {"alertname": "Watchdog", "severity": "none"}},
                ]
            )

            def names() -> set[str]:
                listed = [uici.get(f"/incidents/{item['id']}") for item in uici.get("/incidents")["incidents"]]
                return {item["labels"]["alertname"] for incident in listed for item in incident["alerts"]}

            wanted = {"pager:UiciDown", "people:ServiceDown"}
            until(lambda: wanted <= set(told), "people to be told", lambda: f"{told} {uici.tail()}")
            until(lambda: len(names()) == 2, "the services' alerts", lambda: f"{names()} {uici.tail()}")
            assert names() == {"ServiceDown", "ServiceHighCpu"}
            assert set(told) == wanted
