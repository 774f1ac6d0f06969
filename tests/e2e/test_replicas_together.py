"""Three replicas without a leader: what is due is done by one of them, and each shows what all of them do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from tests.e2e.local_ground import people
from tests.e2e.replicas import Replicas, fire, replicas
from tests.e2e.server import alert, payload
from tests.real.postgres import postgres
from tests.waiting import until
from uici.model.base import JsonObject
from uici.store.database import Store
from uici.store.inserting import insert_many
from uici.store.schema import kept_results

pytestmark = [pytest.mark.component("postgres"), pytest.mark.timeout(300)]
PULSE: JsonObject = {
    "pulse": {
        "match": ['alertname="Watchdog"'],
        "action": "heartbeat",
        "within_seconds": 5,
        "expected": "always",
    }
}


@pytest.fixture(scope="module")
def told() -> list[JsonObject]:
    return []


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, told: list[JsonObject]) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("together")
    url = folder / "people"
    with postgres() as database, people(told) as address:
        url.write_text(address)
        more: JsonObject = {"notify": {"webhook": f"${{file:{url}}}"}, "retention": {"every_seconds": 1}}
        with replicas(folder, database, "web", "db", strategies=PULSE, **more) as fleet:
            fleet.add_at_once(3)
            yield fleet


def test_each_shows_what_another_does_until_it_has_ended(fleet: Replicas) -> None:
    for number, target in enumerate(("web", "db")):
        asked, shows = fleet.all[number], fleet.all[number - 1]
        incident = fire(asked, target)
        watched = fleet.command(shows, "--server", shows.url, "watch", incident)
        assert watched.returncode == 0, watched.stdout + watched.stderr
        assert fleet.spawned(target) == 1
        assert "call_sent" in _timeline(fleet, number - 1, incident)


def test_of_three_that_look_one_cleans_up_what_is_too_old(fleet: Replicas) -> None:
    store = Store(fleet.state)
    old = {
        "incident_id": "inc_old", "run_id": "run_old", "operation": "check_logs",
        "at": datetime(2020, 1, 1, tzinfo=UTC), "phase": "diagnosis",
        "digest": "x", "bytes": 2, "shortened": False, "result": {},
    }  # fmt: skip
    with store.write() as connection:
        insert_many(connection, kept_results, [old])
    until(lambda: _count(fleet, "SELECT count(*) FROM kept_results") == 0, "the old to go")
    store.close()

    def rounds() -> list[int]:
        return [server.log.read_text().count("retention_round") for server in fleet.all]

    until(lambda: sum(rounds()) > 0, "who did it to say so")
    assert sorted(rounds()) == [0, 0, 1]


def test_what_three_watch_for_is_missed_once_and_told_once(fleet: Replicas, told: list[JsonObject]) -> None:
    until(lambda: _absences(fleet), "the absence of a heartbeat that never came", fleet.all[0].tail)
    until(lambda: _told_of_absence(told), "people to hear of it")
    # The other two are given their time to find it missing, too: each of them tells the intake.
    delivered = "SELECT coalesce(max(deliveries), 0) FROM alerts WHERE CAST(labels AS text) LIKE '%HeartbeatMissing%'"
    until(lambda: _count(fleet, delivered) == len(fleet.all), "all of them to have looked", fleet.all[0].tail)
    assert len(_absences(fleet)) == len(_told_of_absence(told)) == 1
    assert _count(fleet, "SELECT count(*) FROM runs") == len(fleet.targets) + 1
    beat = payload(alert("Watchdog", "web", fingerprint="watchdog"))
    assert fleet.all[1].send(beat).status_code == 202
    ends = "SELECT count(*) FROM alerts WHERE CAST(labels AS text) LIKE '%HeartbeatMissing%' AND status = 'resolved'"
    until(lambda: _count(fleet, ends) == 1, "its end to be seen", fleet.all[0].tail)
    assert len(_absences(fleet)) == 1


def test_the_audit_log_that_all_of_them_write_is_proved(fleet: Replicas) -> None:
    done = fleet.command(fleet.all[0], "audit", "verify", "--config", str(fleet.config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert _count(fleet, "SELECT count(*) FROM audit WHERE kind = 'service_started'") == len(fleet.all)


def _timeline(fleet: Replicas, number: int, incident: str) -> list[str]:
    return [entry["type"] for entry in fleet.all[number].get(f"/incidents/{incident}")["timeline"]]


def _absences(fleet: Replicas) -> list[JsonObject]:
    found = fleet.all[0].get("/incidents")["incidents"]
    return [one for one in found if "HeartbeatMissing" in str(one)]


def _told_of_absence(told: list[JsonObject]) -> list[JsonObject]:
    return [message for message in list(told) if "HeartbeatMissing" in str(message)]


def _count(fleet: Replicas, query: str) -> int:
    with psycopg.connect(fleet.state) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0
