"""One round: replicas on a fresh state, alerts and faults for a while, then quiet, then the checker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.chaos import faults, senders
from tests.chaos.checking import Bounds, freezes_met, measured, violations
from tests.chaos.faults import Injector
from tests.chaos.history import Accepted, Call, History, Pulse, calls_of, looks_of
from tests.chaos.looking import Looker, collect, count_runs, moment, unfinished
from tests.chaos.platform import PLATFORM
from tests.chaos.proxy import Network, Proxy
from tests.chaos.replicas import Fleet, Replica
from tests.chaos.senders import Senders
from tests.e2e.server import write_site
from tests.real.components import REPOSITORY, free_port
from tests.real.postgres import Postgres
from tests.waiting import until
from uici.access.roles import Role
from uici.bootstrap import open_tokens
from uici.model.base import JsonObject

SETTINGS = {"authentication_timeout": "5s"}
"""A PostgreSQL that is stopped waits for connections over which nobody has said anything yet, which a cut leaves."""
TAKEOVER_SECONDS = 5.0
SWEEP_SECONDS = 0.5
_LATEST_SENDING_SECONDS = 2.0
_TRANSPORT_SECONDS = 1.0
BOUNDS = Bounds(
    # Announced before the freeze, sent at the latest so long after; the rest is the way to the platform's stream.
    freeze_seconds=_LATEST_SENDING_SECONDS + _TRANSPORT_SECONDS,
    # Seen to stand still for that long, in looks that are a sweep apart.
    takeover_seconds=TAKEOVER_SECONDS * 1.2 + 2 * SWEEP_SECONDS,
    look_seconds=TAKEOVER_SECONDS / 5,
)
QUIET_SECONDS = 240.0
"""After so long without anything that came to its end, nothing more will."""
VERIFY = {"within": 1.5, "stable_for": 0.1, "confirm_within": 0, "interval": 0.5}


@dataclass(frozen=True)
class Round:
    """What is to be done."""

    seed: int
    alerts: int
    targets: int
    pace: float
    """Alerts a second."""
    until: float = float("inf")
    """No alert is begun after this moment of the monotonic clock."""
    replicas: int = 3


class Ground(Protocol):
    """A platform and its services."""

    platform: str
    faults: dict[str, int]
    """Kinds of faults that only this platform has, with how often."""

    def site(self, targets: list[str]) -> JsonObject:
        """`environments` and `targets` of the configuration, `verify` and `remedies` of its strategy."""

    def environment(self) -> dict[str, str]:
        """Variables of the replicas."""

    def spoil(self, target: str, bad: bool) -> None:
        """Break a service."""

    def busy(self) -> bool:
        """Whether a change is under way now."""

    def harm(self, kind: str, seconds: float) -> None:
        """Make one of its faults, and end it."""

    def calls(self) -> list[Call]:
        """The mutating calls that the platform saw."""

    def starts(self) -> dict[str, int]:
        """How often each service says that it was started again."""


class MemoryServices:
    """The services of the test executor, in the process of `tests.chaos.platform`."""

    platform = "local"
    faults: dict[str, int] = {}  # noqa: RUF012  # as the protocol has it; nobody changes it

    def __init__(self, folder: Path, seed: int) -> None:
        self._stream = folder / "platform.jsonl"
        self._url = f"http://127.0.0.1:{free_port()}"
        port = self._url.rpartition(":")[2]
        with (folder / "platform.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.platform", port, str(self._stream), str(seed)],
                stdin=subprocess.PIPE,  # it ends with that, and so with the suite
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )
        self._http = httpx.Client(base_url=self._url, trust_env=False, timeout=30.0)
        until(self._answers, "the platform of chaos", (folder / "platform.log").read_text)

    def close(self) -> None:
        """End the process, and with it the services."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._http.close()

    def site(self, targets: list[str]) -> JsonObject:
        versions: JsonObject = {"good": {}, "bad": {}}
        deploy = {"operation": "deploy_version", "parameters": {"version": "good"}}
        configure = {"operation": "set_configuration", "parameters": {"environment": {"TRIED": "1"}}}
        return {
            "environments": {"default": "local", "environments": {"local": {"platform": "local"}}},
            "targets": {
                name: {"bindings": {"local": {"program": name, "command": ["/bin/true"], "versions": versions}}}
                for name in targets
            },
            "remedies": [
                {"name": "restart", "steps": ["restart_service"], "verify": VERIFY},
                {"name": "deploy", "steps": [configure, deploy], "verify": VERIFY},
            ],
        }

    def environment(self) -> dict[str, str]:
        return {PLATFORM: self._url}

    def spoil(self, target: str, bad: bool) -> None:
        self._http.post("/spoil", json={"program": target, "bad": bad}).raise_for_status()

    def busy(self) -> bool:
        found: bool = self._http.post("/busy", json={}).json()
        return found

    def harm(self, kind: str, seconds: float) -> None:
        raise KeyError(kind)

    def calls(self) -> list[Call]:
        return calls_of(self._stream)

    def starts(self) -> dict[str, int]:
        return {}

    def _answers(self) -> bool:
        try:
            return not self.busy()
        except httpx.TransportError:
            return False


def run(folder: Path, round_: Round, ground: Ground, database: Postgres) -> JsonObject:
    """Do it, keep its history in `folder`, and return what came of it."""
    begun = time.monotonic()
    targets = [f"t{number}" for number in range(round_.targets)]
    name = f"round{round_.seed % 1_000_000_000}"
    with database.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    config = _write_site(folder, ground, targets)
    with open_tokens(config, database.database(name)) as tokens:
        sender, admin = ({"Authorization": f"Bearer {tokens.create(role, 'chaos')}"} for role in _ROLES)
    with _fleet(folder, round_, ground, database, name, config) as fleet, ExitStack() as ending:
        looker = Looker(database, name)
        looker.start()
        ending.callback(looker.stop)
        pulse = Pulse()
        ending.callback(pulse.stop)
        more = {kind: _harming(ground, kind) for kind in ground.faults}
        injector = Injector(fleet, database, admin, more, ground.busy)
        sending = Senders(fleet, sender, targets, ground.spoil)
        ending.callback(sending.stop)
        occurrences = senders.plan(round_.seed, round_.alerts, round_.targets, round_.pace)
        _play(round_, sending, occurrences, injector, ground)
        injector.lift()
        fleet.wait_ready(QUIET_SECONDS)
        in_time = _quiet(database, name)
        history = History(
            calls=ground.calls(),
            accepted=[_in_one_writing(item) for item in sending.accepted],
            freezes=injector.freezes,
            starts=ground.starts(),
        )
        collect(history, database, name, fleet.replicas[0].url, admin)
        statuses = fleet.stop()
        history.held, history.absences, history.pauses = looker.held, fleet.absences, pulse.pauses
        history.looks = looks_of(folder / "looks")
        history.write(folder / "history.json")
        return {
            "seed": round_.seed,
            "platform": ground.platform,
            "runs": count_runs(database, name),
            "outcomes": dict(Counter(run.outcome for run in history.runs)),
            "alerts_planned": round_.alerts,
            "alerts_accepted": len({(item.fingerprint, item.starts_at) for item in history.accepted}),
            "deliveries_accepted": len(history.accepted),
            "answers": {str(status): count for status, count in sorted(sending.answers.items())},
            "mutating_calls": len(history.calls),
            "attempts": dict(Counter(str(attempt.outcome) for attempt in history.attempts)),
            "sent_again": len(history.attempts) - len({attempt.key for attempt in history.attempts}),
            "faults": dict(injector.counts),
            "ended_by_themselves": [list(item) for item in fleet.ended],
            "ended_in_time": in_time,
            "exit_statuses": statuses,
            "freezes": freezes_met(history),
            "measured": measured(history, BOUNDS) | {"load": round(os.getloadavg()[1], 1)},
            "violations": [{"rule": item.rule, "what": item.what} for item in violations(history, BOUNDS)],
            "failures": injector.failures + sending.failures,
            "seconds": round(time.monotonic() - begun, 1),
        }


_ROLES = (Role.ALERTMANAGER, Role.ADMIN)


def _write_site(folder: Path, ground: Ground, targets: list[str]) -> Path:
    site = ground.site(targets)
    strategy = {
        "match": [f'alertname="{senders.ALERT}"'],
        "diagnose": ["get_service_status"],
        "remedies": site["remedies"],
    }
    shutil.rmtree(folder / "site", ignore_errors=True)
    return write_site(
        folder / "site",
        platform={
            "runs": {"takeover_seconds": TAKEOVER_SECONDS, "sweep_seconds": SWEEP_SECONDS, "threads": 8},
            "self": {"names": ["uici"]},
        },
        environments=site["environments"],
        targets={"targets": site["targets"]},
        strategies={"strategies": {"down": strategy}},
        policies={
            "autonomy": "auto",
            "cooldown": {"seconds": 0},
            "risk": {"auto_approve_up_to": "high"},
            "blast_radius": {"max_concurrent": 100, "max_per_hour": 10_000, "min_healthy": 0},
            # Services fail all the time here, and not of one cause.
            "mass_failure": {
                "share": 1.0,
                "at_least": 100_000,
                "within_seconds": 1,
                "release_share": 1.0,
                "release_seconds": 0,
            },
        },
    )


@contextmanager
def _fleet(folder: Path, round_: Round, ground: Ground, database: Postgres, name: str, config: Path) -> Iterator[Fleet]:
    network = Network()
    replicas = []
    for index in range(round_.replicas):
        proxy = Proxy(network, free_port(), database.port)
        state = f"postgresql://uici@127.0.0.1:{proxy.port}/{name}"
        replica = Replica(index, config, state, proxy, ground.environment())
        # The first begins with the machine's clock; the others go wrong from the beginning. Never back: libfaketime
        # 0.9.10 spoils the sleeps of a process then.
        replica.set_clock(f"+{index * 3600}s")
        replicas.append(replica)
    fleet = Fleet(replicas)
    try:
        fleet.start()
        yield fleet
    finally:
        for replica in replicas:
            replica.end(signal.SIGKILL)
        network.close()


def _play(
    round_: Round, sending: Senders, occurrences: list[senders.Occurrence], injector: Injector, ground: Ground
) -> None:
    """Faults for as long as alerts are sent."""
    done = threading.Event()

    def harm() -> None:
        for fault in faults.plan(round_.seed, round_.replicas, TAKEOVER_SECONDS, ground.faults):
            if done.wait(fault.after):
                return
            injector.begin(fault)

    thread = threading.Thread(target=harm, name="chaos-faults", daemon=True)
    thread.start()
    sending.deliver(occurrences, round_.until)
    done.set()
    thread.join()
    injector.finish()
    sending.finish()


def _harming(ground: Ground, kind: str) -> Any:
    return lambda seconds: ground.harm(kind, seconds)


def _quiet(database: Postgres, name: str) -> bool:
    """Wait for as long as more and more comes to its end; whether all did."""
    left = unfinished(database, name)
    while left:
        try:
            (left,) = until(partial(_fewer, database, name, left), "the end of more runs", seconds=QUIET_SECONDS)
        except AssertionError:
            return False
    return True


def _fewer(database: Postgres, name: str, than: int) -> tuple[int] | None:
    left = unfinished(database, name)
    return (left,) if left < than else None


def _in_one_writing(item: Accepted) -> Accepted:
    return replace(item, starts_at=moment(item.starts_at))


def read_verdict(folder: Path) -> JsonObject | None:
    """What came of a round that is over."""
    file = folder / "verdict.json"
    if not file.exists():
        return None
    document: JsonObject = json.loads(file.read_text())
    return document
