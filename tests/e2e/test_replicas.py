"""Two and three replicas on one PostgreSQL: work shared, the dead taken over within the bound, the stopped put down."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.faulty import FAULT
from tests.e2e.replicas import Record, Replicas, fire, replicas
from tests.e2e.server import Server
from tests.real.postgres import Postgres, postgres
from tests.waiting import until
from uici.access.roles import Role

pytestmark = [pytest.mark.component("postgres"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, database: Postgres) -> Iterator[Replicas]:
    """The first of them lives through all tests of this file."""
    with replicas(tmp_path_factory.mktemp("fleet"), database, "web", "db", "mail", "shop", "cart") as fleet:
        fleet.add()
        yield fleet


@pytest.fixture
def survivor(fleet: Replicas) -> Server:
    return fleet.all[0]


@pytest.mark.parametrize(("moment", "target"), [("announced", "web"), ("performed", "db")])
def test_what_a_killed_replica_had_under_way_is_proved_and_not_repeated(
    fleet: Replicas, survivor: Server, moment: str, target: str, record_property: Record
) -> None:
    victim = fleet.add({FAULT: f"{moment}:SIGKILL"})
    assert fleet.alive(survivor) == sorted([survivor.process.pid, victim.process.pid])
    incident = fire(victim, target)
    until(lambda: victim.process.poll() is not None, "its death", victim.tail)
    died_at = time.monotonic()
    held = [worker for worker in fleet.workers(survivor) if worker["pid"] == victim.process.pid]
    assert [run["target"] for worker in held for run in worker["runs"]] == [target]
    until(lambda: fleet.alive(survivor) == [survivor.process.pid], "the dead to be declared dead", survivor.tail)
    record_property("declared_dead_seconds", round(time.monotonic() - died_at, 1))
    run = fleet.ended(incident, survivor)
    record_property("healed_seconds", round(time.monotonic() - died_at, 1))
    assert run["outcome"] == "healed", survivor.explain(run["id"])
    assert fleet.spawned(target) == 1
    proved = [call["outcome"] for call in run["calls"]].count("proved_done")
    assert proved == (moment == "performed"), survivor.explain(run["id"])


def test_a_stopped_replica_that_comes_back_sends_nothing_and_ends(fleet: Replicas, survivor: Server) -> None:
    victim = fleet.add({FAULT: "announced:SIGSTOP"})
    incident = fire(victim, "mail")
    run = fleet.ended(incident, survivor)
    assert (run["outcome"], fleet.spawned("mail")) == ("healed", 1), survivor.explain(run["id"])
    fleet.kill_program("mail")
    victim.process.send_signal(signal.SIGCONT)
    until(lambda: victim.process.poll() is not None, "its end", victim.tail)
    assert victim.process.returncode == os.EX_TEMPFAIL, victim.tail()
    assert "declared_dead" in victim.tail()
    # What it was about to send when it was stopped would start the program, which is down once more.
    assert not fleet.lives("mail")
    assert fleet.spawned("mail") == 1


def _streamed(server: Server, type_: str) -> str | None:
    headers = server.headers(Role.VIEWER) | {"Accept": "text/event-stream", "Last-Event-ID": "0"}
    seen = ""
    with server.http.stream("GET", "/api/v1/events", headers=headers, timeout=20.0) as answer:
        try:
            for chunk in answer.iter_text():
                seen += chunk
                if type_ in seen:
                    return seen
        except httpx.ReadTimeout:
            return None
    return None
