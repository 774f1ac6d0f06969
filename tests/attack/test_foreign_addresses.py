"""Addresses in alerts and in the answers of servers: UICI goes to none of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from executors.probes import Probe, run_probe
from tests.integration.service_rig import Served, alert, notification, serving
from tests.waiting import until
from uici.model.call import CallError
from uici.model.servers import MonitoringServer
from uici.monitoring.http import MonitoringHttp
from uici.notify.notifiers import WebhookNotifier


class _Lure(BaseHTTPRequestHandler):
    """Answers each request with a way to somewhere else, and remembers who came."""

    where = ""
    came: ClassVar[list[str]] = []

    def _answer(self) -> None:
        self.came.append(self.path)
        self.send_response(302)
        self.send_header("Location", self.where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that the base class looks for

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@contextmanager
def lure(where: str) -> Iterator[tuple[str, list[str]]]:
    """A server that sends everybody to `where`: its address, and the paths it was asked for."""
    came: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Lure", (_Lure,), {"where": where, "came": came}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def trap() -> Iterator[tuple[str, socket.socket]]:
    """An address that nobody may go to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield f"127.0.0.1:{listening.getsockname()[1]}", listening


def visitors(listening: socket.socket) -> int:
    """How many came to the trap."""
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def ended(served: Served, incident: str) -> bool:
    shown = served.as_admin("GET", f"/api/v1/incidents/{incident}").json()
    return shown["state"] != "open" or any(run["state"] in ("ended", "waiting") for run in shown.get("runs", []))


def test_no_address_of_an_alert_is_asked(tmp_path: Path) -> None:
    with trap() as (place, listening), serving(tmp_path) as served:
        address = f"http://{place}/x"
        labels = {"instance": place, "host": place, "url": address, "prometheus": place, "target": place}
        sent = alert("ServiceDown", service="web", **labels)
        sent |= {
            "generatorURL": address,
            "annotations": dict.fromkeys(("runbook_url", "dashboard_url", "summary", "description", "image"), address),
        }
        body = notification(sent, alert("Unheard", **labels) | {"generatorURL": address}, externalURL=address)
        assert served.as_admin("POST", "/api/v1/plans:preview", json=body).status_code == 200
        for incident in served.alert(body).json()["incidents"]:
            until(lambda incident=incident: ended(served, incident["id"]), "the incident's way")  # type: ignore[misc]
            assert served.as_admin("GET", f"/api/v1/incidents/{incident['id']}/bundle").is_success
        assert visitors(listening) == 0
        # The trap does catch: this is what a visit looks like.
        socket.create_connection((place.split(":")[0], int(place.split(":")[1]))).close()
        assert visitors(listening) == 1


def test_a_monitoring_server_cannot_send_us_elsewhere() -> None:
    with trap() as (place, listening), lure(f"http://{place}/latest/meta-data/") as (address, came):
        server = MonitoringHttp(MonitoringServer(url=address), "Prometheus")
        with pytest.raises(CallError, match="answered 302"):
            server.get("/api/v1/query", {"query": "up"})
        with pytest.raises(CallError, match="answered 302"):
            server.change("POST", "/api/v2/silences", {})
        assert len(came) == 2
        assert visitors(listening) == 0


def test_the_receiver_of_messages_cannot_send_us_elsewhere() -> None:
    with trap() as (place, listening), lure(f"http://{place}/") as (address, came):
        with pytest.raises(OSError, match="answered 302"):
            WebhookNotifier(f"{address}/hook", timeout=10.0).send({"title": "x"})
        assert came == ["/hook"]
        assert visitors(listening) == 0


def test_a_service_that_is_probed_cannot_send_us_elsewhere() -> None:
    with trap() as (place, listening), lure(f"http://{place}/") as (address, came):
        assert run_probe(Probe(http=f"{address}/health"))["detail"] == "answered 302, expected 200"
        assert came == ["/health"]
        assert visitors(listening) == 0
