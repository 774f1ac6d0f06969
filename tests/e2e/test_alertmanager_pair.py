"""Both peers of an Alertmanager cluster deliver an hour of alerts to replicas that are restarted one after another.

Each target fails while each replica is restarted: thirty alerts in `make test`, and more in `make pair`.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.containers import Web, Yard
from tests.e2e.faulty import SCHEMA, VERSION
from tests.e2e.replicas import POLICIES, STRATEGIES, TAKEOVER_SECONDS, Record, Replicas, replicas
from tests.e2e.server import Server, write_site
from tests.newer_schema import ADDITIVE
from tests.real.alertmanager import Alertmanager, alertmanager_pair
from tests.real.docker import DockerEngine
from tests.real.haproxy import HAProxy, haproxy
from tests.real.postgres import postgres
from tests.real.web import web
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject
from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.migrations.upgrading import version_of

pytestmark = [
    pytest.mark.component("postgres"),
    pytest.mark.component("haproxy"),
    pytest.mark.component("docker"),
    pytest.mark.component("alertmanager"),
]

PROGRAMS = tuple(f"app{number}" for number in range(8))
CONTAINERS = tuple(f"pair{number}" for number in range(2))
REPLICAS = 3
NEWER = "99.0"
TURNS = int(os.environ.get("UICI_TEST_PAIR_TURNS", "1"))
"""How often each replica is restarted."""
PAUSE_SECONDS = 0.2
"""Between two alerts of one round."""
NO_BRAKE = {"share": 1, "at_least": 1000, "within_seconds": 60, "release_share": 1, "release_seconds": 0}
# The health check that docs/many-machines.md shows, only faster.
CHECK = "option httpchk GET /readyz\n  timeout check 5s"


@dataclass
class Prometheus:
    """What tells both Alertmanagers of each failure, and of its end when the target is seen to live."""

    fleet: Replicas
    webs: dict[str, Web]
    peers: tuple[Alertmanager, Alertmanager]
    began: dict[str, list[str]] = field(default_factory=dict)
    """Target -> when each of its alerts began."""

    def fail_all(self) -> None:
        """One target after another fails."""
        for name in (*PROGRAMS, *CONTAINERS):
            self._kill(name)
            at = datetime.now(UTC).isoformat()
            self.began.setdefault(name, []).append(at)
            self._tell(name, at)
            time.sleep(PAUSE_SECONDS)

    def end_all(self, explain: Server) -> None:
        """Wait for each target to live again, and say so."""
        for name in (*PROGRAMS, *CONTAINERS):
            until(partial(self._lives, name), f"{name} to be healed", explain.tail)
            self._tell(name, self.began[name][-1], endsAt=datetime.now(UTC).isoformat())

    def _tell(self, name: str, at: str, **more: str) -> None:
        # Alertmanager takes an alert for the one of before when all labels are the same, and it began anew before the
        # end was sent. So each has one of its own, as those about a pod have the pod's name.
        labels = {"alertname": "Down", "severity": "critical", "uici_target": name, "pod": f"{name}-{at}"}
        for peer in self.peers:
            peer.post_alerts([{"labels": labels, "startsAt": at, **more}])

    def _kill(self, name: str) -> None:
        if name in self.webs:
            self.webs[name].kill()
        elif pids := self.spawned(name):  # before that it was never started
            os.kill(pids[-1], signal.SIGKILL)

    def _lives(self, name: str) -> bool:
        if name in self.webs:
            return self.webs[name].healthy()
        return len(self.spawned(name)) >= len(self.began[name])

    def spawned(self, name: str) -> list[int]:
        """The process ids that the supervisor has given a program, by its own log."""
        log = self.fleet.home / "uici/local/supervisor/supervisord.log"
        found = re.findall(rf"spawned: '{name}(?:-\d+)?' with pid (\d+)", log.read_text() if log.exists() else "")
        return [int(pid) for pid in found]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.timeout(600 * TURNS)
def test_every_alert_is_healed_once_while_replicas_are_restarted(
    docker_engine: DockerEngine, stack: ExitStack, tmp_path: Path, record_property: Record
) -> None:
    yard = stack.enter_context(Yard(docker_engine))
    fleet = stack.enter_context(replicas(tmp_path, stack.enter_context(postgres()), *PROGRAMS))
    webs = {name: yard.run(name) for name in CONTAINERS}
    fleet.config = _site(tmp_path / "pair-site", fleet, yard, webs)
    servers = fleet.add_at_once(REPLICAS)
    door = stack.enter_context(_behind_haproxy(tmp_path / "door", servers))
    token = tmp_path / "token"
    token.write_text(servers[0].tokens[Role.ALERTMANAGER])
    config = Alertmanager.config_for(f"{door.url}/webhooks/alertmanager", token_file=token)
    # Without patience for each other both of them deliver, as peers do that cannot hear each other in time.
    peers = stack.enter_context(alertmanager_pair(tmp_path / "alertmanagers", config, patience="0s"))
    until(lambda: all(peer.peers() == 2 for peer in peers), "the cluster")
    prometheus = Prometheus(fleet, webs, peers)
    beside = stack.enter_context(ThreadPoolExecutor(1))

    rounds = [
        (way, server) for _ in range(TURNS) for way, server in zip(("told", "told", "killed"), servers, strict=True)
    ]
    for restarted, (way, server) in enumerate(rounds):
        failing = beside.submit(prometheus.fail_all)
        (_drained if way == "told" else _killed)(server, door)
        fleet.start(server, {VERSION: NEWER, SCHEMA: "additive"})
        until(partial(_sees, door, server), "HAProxy to see it again", server.tail)
        # The older and the newer version work side by side until the last is replaced, both on the newer's schema.
        assert len(_versions(server)) == (1 if restarted >= REPLICAS - 1 else 2)
        assert _schema(fleet.state) == (ADDITIVE.version, CURRENT.version)
        failing.result()
        prometheus.end_all(server)
        until(lambda: _open(servers[0]) == 0, "the end of all incidents", servers[0].tail)

    # Nothing lost: each alert that began is an incident of its own, which ended well. Nothing doubled: no other is.
    incidents = _all(servers[0])
    expected = Counter({name: len(began) for name, began in prometheus.began.items()})
    assert set(expected.values()) == {len(rounds)}
    assert Counter(one["target"] for one in incidents) == expected
    bad = [one for one in incidents if one["outcome"] != "healed"]
    assert not bad, "\n".join(f"{one}\n{servers[0].explain(one['run'])}" for one in bad)
    # The platforms' own word: the supervisor's log of what it spawned, the engine's events.
    spawned = {name: len(prometheus.spawned(name)) for name in PROGRAMS}
    assert spawned == dict.fromkeys(PROGRAMS, len(rounds))
    # The first start was the test's own.
    starts = {name: len(yard.times("start", name)) for name in CONTAINERS}
    assert starts == dict.fromkeys(CONTAINERS, len(rounds) + 1)

    # Only who was killed left an answer out; who drained gave each.
    assert set().union(*map(_refusals, peers)) <= {502, 503}
    sent = [_sent(peer) for peer in peers]
    record_property("notifications", sent)
    record_property("alerts", len(incidents))
    # Both peers told of each beginning and each end, at least; one notification is enough for several replicas.
    assert min(sent) >= len(incidents), sent


def _site(folder: Path, fleet: Replicas, yard: Yard, webs: dict[str, Web]) -> Path:
    targets = {name: {"bindings": {"docker": web.binding()}} for name, web in webs.items()}
    return write_site(
        folder,
        platform={
            "state": fleet.state,
            "runs": {"takeover_seconds": TAKEOVER_SECONDS, "sweep_seconds": 0.5},
            "service": {"drain_seconds": 1.0, "shutdown_seconds": 20.0},
        },
        environments={
            "default": "local",
            "environments": {"local": {"platform": "local"}, "docker": yard.environment()},
        },
        targets={"targets": {**fleet.targets, **targets}},
        strategies=STRATEGIES,
        # All of them fail within seconds, which is not the trouble that this is about.
        policies={**POLICIES, "mass_failure": NO_BRAKE},
    )


@contextmanager
def _behind_haproxy(folder: Path, servers: list[Server]) -> Iterator[HAProxy]:
    """HAProxy in front of them, as docs/many-machines.md shows it."""
    places = {server.name: server.url.removeprefix("http://") for server in servers}
    with haproxy(folder, places, options="check inter 200ms fall 1 rise 1", backend=CHECK) as door:
        until(lambda: len(_up(door)) == len(servers), "all replicas to be up for HAProxy")
        yield door


def _drained(server: Server, door: HAProxy) -> None:
    """Tell one to end; before it does, it is not ready, and goes on answering."""
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.http.get("/readyz").status_code == 503, "it to be unready", server.tail)
    until(lambda: server.process.poll() is not None, "its end", server.tail)
    assert server.process.returncode == 0, server.tail()
    assert not _sees(door, server)


def _killed(server: Server, door: HAProxy) -> None:
    server.kill()
    until(lambda: not _sees(door, server), "HAProxy to see its end")


def _sees(door: HAProxy, server: Server) -> bool:
    return server.name in _up(door)


def _up(door: HAProxy) -> set[str]:
    """The replicas that HAProxy would send something to."""
    rows = [line.split(",") for line in door.ask("show stat").splitlines() if line.startswith("web,replica")]
    return {row[1] for row in rows if "UP" in row}


def _schema(state: str) -> tuple[int, int] | None:
    """The schema of the state, and the oldest version's that can work on it."""
    store = Store(state)
    try:
        with store.read() as connection:
            return version_of(connection)
    finally:
        store.close()


def _versions(server: Server) -> set[str]:
    return {worker["version"] for worker in server.get("/workers")["workers"]}


def _open(server: Server) -> int:
    return len(server.get("/incidents?state=open&limit=500")["incidents"])


def _all(server: Server) -> list[JsonObject]:
    """Every incident, newest first."""
    found: list[JsonObject] = []
    position = ""
    while True:
        page = server.get(f"/incidents?limit=100{position}")
        found += page["incidents"]
        if page["next"] is None:
            return found
        position = f"&before={page['next']}"


def _sent(peer: Alertmanager) -> int:
    """How many notifications it made of which UICI accepted one delivery."""
    page = web.get(f"{peer.url}/metrics", timeout=10.0).text
    counted = re.findall(r'^alertmanager_notifications_total\{integration="webhook".*\} (\d+)$', page, re.MULTILINE)
    failed = re.findall(r'^alertmanager_notifications_failed_total\{integration="webhook".*\} (\d+)$', page, re.M)
    return sum(map(int, counted)) - sum(map(int, failed))


def _refusals(peer: Alertmanager) -> set[int]:
    """The statuses that were not 2xx."""
    return {int(status) for status in re.findall(r"unexpected status code (\d+)", peer.log.read_text())}
