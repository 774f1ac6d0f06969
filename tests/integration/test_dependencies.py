"""A database and what depends on it: healed in this order, told of together, and bounded in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import (
    alert,
    closed,
    incident_of,
    run_of,
    running,
    send,
    site,
    told,
)
from tests.waiting import until
from uici.bootstrap import Application
from uici.intake.writer import Accepted
from uici.model.base import JsonObject
from uici.store.dependents import dependents

SERVICES = ("api", "web", "worker")
POLICIES = """
autonomy: auto
cooldown: {seconds: 0}
blast_radius: {max_concurrent: 100, max_per_hour: 10000, min_healthy: 0}
dependencies: {correlation_seconds: %s, wait_seconds: %s, recover_seconds: %s}
"""


class Outage:
    """A database in memory, and services that are healthy only while it is."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = world.service("database")
        for name in SERVICES:
            world.service(name).state = "running"
        self._follow()
        world.hook = lambda moment, environment, call: self._follow()

    def _follow(self) -> None:
        for name in SERVICES:
            self.world.service(name).healthy_when_running = self.database.healthy


def written(folder: Path, *, correlation: float = 0, wait: float = 600, recover: float = 0.3) -> Path:
    """The site of an outage: the worker needs the api, and that the database."""
    config = site(folder, "database", *SERVICES, policies=POLICIES % (correlation, wait, recover))
    path = config / "targets.yml"
    text = path.read_text()
    for name, needed in (("api", "database"), ("web", "database"), ("worker", "api")):
        text = text.replace(f"  {name}: {{", f"  {name}: {{depends_on: [{needed}], ")
    path.write_text(text)
    return config


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def outage(world: World) -> Outage:
    return Outage(world)


@pytest.fixture
def application(tmp_path: Path, outage: Outage) -> Iterator[Application]:
    with running(written(tmp_path / "site"), outage.world) as application:
        yield application


def waits(application: Application, *runs: str) -> list[str]:
    """What these runs wait for, once all of them do."""

    def all_wait() -> list[str] | None:
        found = [str(application.control.run(run)["waiting_for"] or "") for run in runs]
        return found if all(text.startswith("dependency ") for text in found) else None

    shown: list[str] = until(all_wait, "the runs to wait")
    return shown


def timeline(application: Application, run: str) -> list[str]:
    return [event.type for event in application.control.events(run=run, incident=None, after=0, limit=1000)]


def _knows(application: Application, run: str) -> bool:
    return "dependency_healed" in timeline(application, run)


def resolve(application: Application, names: Sequence[str]) -> None:
    send(application, *(alert(name, status="resolved") for name in names))


def _silence(application: Application, outage: Outage, database: Accepted) -> None:
    """The database's alert falls silent once it was acted on."""
    until(lambda: outage.world.changes("database"), "the database is acted on")
    resolve(application, ["database"])
    assert closed(application, database)["outcome"] == "healed"


def test_only_the_database_is_acted_on_and_the_others_end_with_it(application: Application, outage: Outage) -> None:
    accepted = {name: send(application, alert(name)) for name in SERVICES}
    runs = {name: run_of(application, found)["id"] for name, found in accepted.items()}
    # Its alert has not come, so what they wait for is what was seen of it.
    assert waits(application, runs["api"]) == ["dependency database: it is not healthy, and no alert has come for it"]
    # The worker waits for the root of all, not for what it needs itself: that waits, too.
    incident = incident_of(application, accepted["api"])["id"]
    assert waits(application, runs["worker"]) == [f"dependency api: incident {incident}"]
    database = send(application, alert("database"))
    root = incident_of(application, database)["id"]
    _silence(application, outage, database)
    for name in ("api", "web"):
        until(partial(_knows, application, runs[name]), f"{name} to know")
    resolve(application, SERVICES)
    for name, waited in (("api", "database"), ("web", "database"), ("worker", "api")):
        document = closed(application, accepted[name])
        assert document["outcome"] == "self_resolved", document
        assert f"local/{waited}" in document["reason"], document["reason"]
        assert document["reason"].startswith("healed_by_dependency: ") is (name != "worker")
        assert outage.world.changes(name) == []
    assert outage.world.changes("database") == ["program.restart"]
    assert told(application) == []
    with application.store.read() as connection:
        assert connection.execute(select(dependents)).all() == [], "nobody waits any more"
    assert root.startswith("inc_")


def test_what_does_not_recover_with_its_dependency_is_healed_after_it(tmp_path: Path, outage: Outage) -> None:
    with running(written(tmp_path / "site"), outage.world) as application:
        outage.world.hook = lambda moment, environment, call: None
        web = send(application, alert("web"))
        waits(application, run_of(application, web)["id"])
        database = send(application, alert("database"))
        _silence(application, outage, database)
        # Its own failing is another one, of which a restart is the cure.
        service = outage.world.service("web")
        until(lambda: outage.world.changes("web"), "it is acted on, too")
        service.healthy_when_running = True
        resolve(application, ["web"])
        assert closed(application, web)["outcome"] == "healed"
        assert outage.world.done[:2] == [("program.restart", "database"), ("program.restart", "web")]


def test_the_database_that_cannot_be_healed_is_told_of_once_with_all_that_wait_for_it(
    application: Application, outage: Outage
) -> None:
    outage.database.healthy_when_running = False
    accepted = {name: send(application, alert(name)) for name in ("api", "web")}
    waits(application, *(run_of(application, found)["id"] for found in accepted.values()))
    database = send(application, alert("database"))
    assert closed(application, database)["outcome"] == "escalated"
    root = incident_of(application, database)["id"]
    for name in ("api", "web"):
        document = closed(application, accepted[name])
        assert document["outcome"] == "escalated"
        assert document["reason"].startswith(f"dependency: it needs database: incident {root} ended as escalated")
        assert outage.world.changes(name) == []
    messages = [message for message in told(application) if "dependents" in message]
    assert [message["dependents"] for message in messages] == [["local/api", "local/web"]]
    assert messages[0]["where"]["target"] == "database"
    assert len(told(application)) == 2, "the database's own, and one for both"


def test_a_wait_is_bounded(tmp_path: Path, outage: Outage) -> None:
    with running(written(tmp_path / "site", wait=1), outage.world) as application:
        accepted = [send(application, alert(name)) for name in ("api", "web")]
        for found in accepted:
            assert closed(application, found)["outcome"] == "escalated"
        places = sorted(place for message in told(application) for place in message["dependents"])
        assert places == ["local/api", "local/web"], "each is told of once"
        assert outage.world.done == []


def test_an_alert_that_comes_before_the_databases_waits_for_it(tmp_path: Path, outage: Outage) -> None:
    # Nothing is to be seen of the database: only its alert will tell.
    outage.database.state = "running"
    for name in SERVICES:
        outage.world.service(name).state = "exited"
    with running(written(tmp_path / "site", correlation=3), outage.world) as application:
        now = datetime.now(UTC)
        web = send(application, alert("web", starts=now))
        run = run_of(application, web)["id"]
        until(lambda: application.control.run(run)["waiting_for"] == "correlation", "it waits for alerts to come")
        # Its alert fires although it looks well, so it stays open for as long as a silence is awaited.
        database = send(application, alert("database", starts=now))
        root = incident_of(application, database)["id"]
        assert waits(application, run) == [f"dependency database: incident {root}"]
        assert outage.world.changes("web") == []
        send(application, alert("database", status="resolved", starts=now))
        assert closed(application, database)["outcome"] in ("healed", "self_resolved")
        until(lambda: outage.world.changes("web"), "then it is healed")


def test_a_run_under_way_goes_back_to_waiting_before_it_acts(application: Application, outage: Outage) -> None:
    """The database's alert comes after the look and before the guards."""
    outage.database.state = "running"
    web = outage.world.service("web")
    web.state = "exited"
    sent: list[JsonObject] = []

    def hook(moment: str, environment: str, call: object) -> None:
        name = getattr(call, "arguments", {}).get("target", {}).get("program")
        if name == "web" and getattr(call, "name", "") == "program.status" and not sent:
            sent.append({})
            send(application, alert("database"))

    outage.world.hook = hook
    accepted = send(application, alert("web"))
    run = run_of(application, accepted)["id"]
    waits(application, run)
    assert outage.world.changes("web") == []
    guarded = [event for event in application.control.events(run=run, incident=None, after=0, limit=1000)]
    denials = [item["guard"] for event in guarded if event.type == "guarded" for item in event.data["decisions"]]
    assert denials == ["dependency"]
    resolve(application, ["database"])
    until(lambda: outage.world.changes("web"), "it is healed after the database")


def test_a_preview_shows_the_same_order_and_reason(application: Application, outage: Outage) -> None:
    def document(*names: str) -> JsonObject:
        alerts = [
            {
                "status": "firing",
                "labels": {"alertname": "Down", "uici_target": name},
                "annotations": {},
                "startsAt": "2026-01-01T00:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "",
                "fingerprint": name.encode().hex()[:16].ljust(16, "0"),
            }
            for name in names
        ]
        return {
            "version": "4", "groupKey": "{}", "receiver": "uici", "status": "firing", "alerts": alerts,
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0,
        }  # fmt: skip

    shown = application.control.preview(document("worker", "web", "database"), None)["previews"]
    assert [item["target"] for item in shown] == ["database", "web", "worker"]
    assert shown[0]["outcome"] == "would run"
    assert [item["outcome"] for item in shown[1:]] == ["would wait for its turn"] * 2
    assert "it would wait for database: its alerts are in the same notification" in shown[1]["notes"]
    (alone,) = application.control.preview(document("web"), None)["previews"]
    assert "it would wait for database: it is not healthy, and no alert has come for it" in alone["notes"]
