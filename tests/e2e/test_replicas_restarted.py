"""Replicas behind HAProxy, restarted one after another with another version, under load: nothing lost or doubled."""

from __future__ import annotations

import secrets
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.faulty import VERSION
from tests.e2e.replicas import Record, replicas
from tests.e2e.server import Server, alert, payload
from tests.real.haproxy import HAProxy, haproxy
from tests.real.postgres import postgres
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

pytestmark = [pytest.mark.component("postgres"), pytest.mark.component("haproxy"), pytest.mark.timeout(420)]

TARGETS = tuple(f"app{number:02}" for number in range(12))
PAUSE_SECONDS = 1.0
# The health check that docs/many-machines.md shows, only faster.
CHECK = "option httpchk GET /readyz"


class Load:
    """A sender as Alertmanager is one: what is not answered with 2xx is sent again, and everything is sent twice."""

    def __init__(self, url: str, token: str) -> None:
        self.accepted: dict[str, str] = {}
        """Target -> its incident."""
        self.answers: Counter[int | str] = Counter()
        self.busy = threading.Event()
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30.0
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        for target in TARGETS:
            body = payload(alert("Slow", target, fingerprint=secrets.token_hex(8)))
            self.accepted[target] = self._sent(body)
            assert self._sent(body) == self.accepted[target]
            self.busy.set()
            self._stop.wait(PAUSE_SECONDS)

    def _sent(self, body: JsonObject) -> str:
        while not self._stop.is_set():
            try:
                answer = self._http.post("/webhooks/alertmanager", json=body)
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == 202:
                return str(answer.json()["incidents"][0]["id"])
            self._stop.wait(0.2)
        return ""

    def end(self) -> None:
        self._thread.join(120)
        self._stop.set()
        self._thread.join()
        self._http.close()


@contextmanager
def behind_haproxy(folder: Path, servers: list[Server]) -> Iterator[HAProxy]:
    """HAProxy in front of them, as docs/many-machines.md shows it."""
    places = {f"uici{number}": server.url.removeprefix("http://") for number, server in enumerate(servers)}
    with haproxy(folder, places, options="check inter 200ms fall 1 rise 1", backend=CHECK) as door:
        until(lambda: up(door) == len(servers), "all replicas to be up for HAProxy")
        yield door


def up(door: HAProxy) -> int:
    """How many replicas HAProxy would send something to."""
    rows = [line.split(",") for line in door.ask("show stat").splitlines() if line.startswith("web,uici")]
    return sum("UP" in row for row in rows)


def test_a_rolling_upgrade_under_load_loses_and_doubles_nothing(tmp_path: Path, record_property: Record) -> None:
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        fleet = stack.enter_context(
            replicas(tmp_path, database, *TARGETS, service={"drain_seconds": 1.0, "shutdown_seconds": 20.0})
        )
        old = [fleet.add() for _ in range(2)]
        door = stack.enter_context(behind_haproxy(tmp_path / "door", old))
        load = Load(door.url, old[0].tokens[Role.ALERTMANAGER])
        stack.callback(load.end)
        assert load.busy.wait(60)
        for number, server in enumerate(old):
            drained(server, door)
            fleet.start(server, {VERSION: "99.0"})
            until(lambda: up(door) == len(old), "HAProxy to see it again", server.tail)
            versions = {worker["version"] for worker in server.get("/workers")["workers"]}
            # Side by side after the first, and after the last only the new one.
            assert len(versions) == (2 if number == 0 else 1)
            assert "99.0" in versions
        load.end()
        record_property("answers", dict(load.answers))
        assert set(load.answers) <= {202, 503}, load.answers
        assert set(load.accepted) == set(TARGETS)
        for target, incident in load.accepted.items():
            run = fleet.ended(incident, old[0])
            assert (run["outcome"], fleet.spawned(target)) == ("healed", 1), old[0].explain(run["id"])
        assert len(old[0].get("/incidents")["incidents"]) == len(old[0].get("/runs")["runs"]) == len(TARGETS)


def drained(server: Server, door: HAProxy) -> None:
    """Tell one to end; before it does, it is not ready, and goes on answering."""
    server.process.send_signal(signal.SIGTERM)
    until(lambda: _status(server) == 503, "it to be unready", server.tail)
    until(lambda: server.process.poll() is not None, "its end", server.tail)
    assert server.process.returncode == 0, server.tail()
    assert up(door) == 1


def _status(server: Server) -> int:
    return server.http.get("/readyz").status_code
