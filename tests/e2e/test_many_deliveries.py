"""The same alert, delivered again and again: one incident, one run, one start of the container."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.e2e.containers import Web, Yard
from tests.e2e.server import Server, alert, payload, resolved, write_site
from tests.real.alertmanager import Alertmanager, alertmanager, alertmanager_pair
from tests.real.docker import DockerEngine
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

pytestmark = pytest.mark.component("docker")

DELIVERIES = 200
SENDERS = 32


@pytest.fixture
def yard(docker_engine: DockerEngine) -> Iterator[Yard]:
    with Yard(docker_engine) as yard:
        yield yard


def _site(folder: Path, yard: Yard, web: Web) -> Server:
    return Server(
        write_site(
            folder / "site",
            platform={
                "self": {"names": ["uici"]},
                "intake": {"wait_seconds": 60},
            },  # a busy machine refuses none
            environments={"default": "docker", "environments": {"docker": yard.environment()}},
            targets={"targets": {web.name: {"bindings": {"docker": web.binding()}}}},
            policies={"autonomy": "auto", "cooldown": {"seconds": 0}},
        )
    )


def _deliver(uici: Server, body: JsonObject, times: int = DELIVERIES) -> list[httpx.Response]:
    """Send the body `times` times, many at once; every answer must have arrived."""
    with ThreadPoolExecutor(SENDERS) as pool:
        return list(pool.map(lambda _: uici.send(body), range(times)))


def _incidents_of(answers: list[httpx.Response]) -> set[str]:
    assert Counter(answer.status_code for answer in answers) == {202: len(answers)}, answers[0].text
    return {incident["id"] for answer in answers for incident in answer.json()["incidents"]}


def test_two_hundred_deliveries_before_and_after_a_crash_are_one(yard: Yard, tmp_path: Path) -> None:
    web = yard.run("flood")
    with _site(tmp_path, yard, web) as uici:
        yard.forget()
        web.kill()
        firing = alert("ServiceDown", web.name, fingerprint="f100d0f100d0f100")
        first = _incidents_of(_deliver(uici, payload(firing)))
        uici.kill()
        uici.start()
        second = _incidents_of(_deliver(uici, payload(firing)))
        assert len(first) == 1
        assert second == first
        until(web.healthy, "the container to be healed", uici.tail)
        assert uici.send(payload(resolved(firing))).status_code == 202
        (incident,) = uici.get("/incidents")["incidents"]
        run = uici.ended(incident["run"])
        assert run["outcome"] == "healed", uici.explain(run["id"])

        # What arrives late, after all is over, is the same alert still.
        late = _deliver(uici, payload(firing), 40)
        assert Counter(answer.status_code for answer in late) == {202: 40}

        assert len(uici.get("/incidents")["incidents"]) == len(uici.get("/runs")["runs"]) == 1
        (one,) = uici.get(f"/incidents/{incident['id']}")["alerts"]
        # Both volleys, the end, and the latecomers: each was counted, none was lost.
        assert one["deliveries"] == 2 * DELIVERIES + 1 + 40
        assert one["status"] == "resolved"
    assert len(yard.times("start", web.name)) == 1
    assert Counter(event.action for event in yard.events()) == {"kill": 1, "die": 1, "start": 1}


def test_deliveries_while_uici_is_killed_lose_nothing_that_was_accepted(yard: Yard, tmp_path: Path) -> None:
    web = yard.run("storm")
    with _site(tmp_path, yard, web) as uici:
        yard.forget()
        web.kill()
        firing = payload(alert("ServiceDown", web.name, fingerprint="5708m05708m05708"))

        def deliver(_: int) -> int:
            try:
                return uici.send(firing).status_code
            except httpx.TransportError:
                return 0  # it was down

        with ThreadPoolExecutor(SENDERS) as pool:
            answers = pool.map(deliver, range(DELIVERIES))
            until(lambda: uici.log.stat().st_size > 0 and _accepted(uici), "the first commit", uici.tail)
            uici.kill()
            seen = Counter(answers)
        assert set(seen) <= {0, 202, 503}, seen
        uici.start()
        # Alertmanager comes back after a refused connection.
        assert uici.send(firing).status_code == 202
        until(web.healthy, "the container to be healed", uici.tail)
        until(lambda: _called(uici), "the call to be settled", uici.tail)
        assert len(uici.get("/incidents")["incidents"]) == len(uici.get("/runs")["runs"]) == 1
    assert len(yard.times("start", web.name)) == 1


def _accepted(uici: Server) -> bool:
    return bool(uici.get("/incidents")["incidents"])


def _called(uici: Server) -> bool:
    runs = uici.get("/runs")["runs"]
    return bool(runs) and runs[0]["stage"] in ("confirm", "verify", "ended")


@pytest.mark.component("alertmanager")
def test_two_alertmanagers_that_lost_each_other_make_one_incident(yard: Yard, tmp_path: Path) -> None:
    web = yard.run("peers")
    with _site(tmp_path, yard, web) as uici:
        token = tmp_path / "token"
        token.write_text(uici.tokens[Role.ALERTMANAGER])
        config = Alertmanager.config_for(f"{uici.url}/webhooks/alertmanager", token_file=token)
        with alertmanager(tmp_path / "left", config) as left, alertmanager(tmp_path / "right", config) as right:
            web.kill()
            firing = _posted(web)
            for peer in (left, right):
                peer.post_alerts([firing])
            until(lambda: _deliveries(uici) >= 2, "the notification of both", uici.tail)
            until(web.healthy, "the container to be healed", uici.tail)
            for peer in (left, right):
                peer.post_alerts([firing | {"endsAt": datetime.now(UTC).isoformat()}])
            _healed_once(uici, yard, web)


@pytest.mark.component("alertmanager")
def test_two_clustered_alertmanagers_make_one_incident(yard: Yard, tmp_path: Path) -> None:
    web = yard.run("cluster")
    with _site(tmp_path, yard, web) as uici:
        token = tmp_path / "token"
        token.write_text(uici.tokens[Role.ALERTMANAGER])
        config = Alertmanager.config_for(f"{uici.url}/webhooks/alertmanager", token_file=token)
        with alertmanager_pair(tmp_path / "pair", config) as peers:
            until(lambda: all(peer.peers() == 2 for peer in peers), "the cluster")
            web.kill()
            firing = _posted(web)
            for peer in peers:
                peer.post_alerts([firing])
            until(lambda: _deliveries(uici) >= 1, "the notification", uici.tail)
            until(web.healthy, "the container to be healed", uici.tail)
            for peer in peers:
                peer.post_alerts([firing | {"endsAt": datetime.now(UTC).isoformat()}])
            _healed_once(uici, yard, web)


def _posted(web: Web) -> JsonObject:
    return {
        "labels": {"alertname": "ServiceDown", "severity": "critical", "container_name": web.name},
        "startsAt": datetime.now(UTC).isoformat(),
    }


def _deliveries(uici: Server) -> int:
    return sum(
        one["deliveries"]
        for incident in uici.get("/incidents")["incidents"]
        for one in uici.get(f"/incidents/{incident['id']}")["alerts"]
    )


def _healed_once(uici: Server, yard: Yard, web: Web) -> None:
    (incident,) = uici.get("/incidents")["incidents"]
    assert uici.ended(incident["run"])["outcome"] == "healed", uici.explain(incident["run"])
    assert len(uici.get("/runs")["runs"]) == 1
    assert len(uici.get(f"/incidents/{incident['id']}")["alerts"]) == 1
    # The first of the two starts was the test's own.
    assert len(yard.times("start", web.name)) == 2
