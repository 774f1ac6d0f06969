"""Event streams: complete, in order, resumable, and over when the run is."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.integration.service_rig import DEADLINE, Served, serving
from uici.access.roles import Role
from uici.store import schema


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("streams")) as served:
        yield served


def make_run(served: Served, run_id: str) -> None:
    """A run that nobody carries out, so that the tests say what happens in it."""
    with served.application.events.writing() as connection:
        connection.execute(
            schema.runs.insert().values(
                id=run_id,
                origin="human",
                actor="",
                state="waiting",
                stage="approval",
                waiting_for="test",
                due_at=datetime.now(UTC) + timedelta(days=1),
                data={},
                created_at=datetime.now(UTC),
            )
        )
        served.application.events.append(connection, "run_requested", run=run_id, number=0)


def end_run(served: Served, run_id: str) -> None:
    with served.application.events.writing() as connection:
        served.application.events.append(connection, "run_ended", run=run_id)
        connection.execute(schema.runs.update().where(schema.runs.c.id == run_id).values(state="ended", due_at=None))


def read(served: Served, path: str, into: list[dict[str, Any]], until: threading.Event, **headers: str) -> None:
    """Collect a stream's events; `until` is set at each, and at the end."""
    given = {"Authorization": f"Bearer {served.tokens[Role.VIEWER]}", "Accept": "text/event-stream", **headers}
    with httpx.stream("GET", served.url + path, headers=given, timeout=DEADLINE, trust_env=False) as response:
        into.append({"status": response.status_code})
        event: dict[str, Any] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if not line and "data" in event:
                into.append(event | {"data": json.loads(event["data"])})
                event = {}
                until.set()
            elif name in ("id", "event", "data"):
                event[name] = value
    until.set()


def test_a_run_from_its_beginning_to_its_end(served: Served) -> None:
    make_run(served, "run_whole")
    got: list[dict[str, Any]] = []
    news = threading.Event()
    reader = threading.Thread(target=read, args=(served, "/api/v1/runs/run_whole/events", got, news))
    reader.start()
    assert news.wait(DEADLINE)
    for number in range(1, 30):
        served.emit("step", run="run_whole", number=number, target="web", environment="local")
        served.emit("step", run="run_other", number=number)
    end_run(served, "run_whole")
    reader.join(DEADLINE)
    assert not reader.is_alive()
    assert got[0] == {"status": 200}
    events = got[1:]
    assert [event["data"]["data"].get("number") for event in events] == [*range(30), None]
    assert [event["event"] for event in events] == ["run_requested", *["step"] * 29, "run_ended"]
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    document = events[1]["data"]
    assert document["specversion"] == "1.0"
    assert document["id"] == events[1]["id"]
    assert document["type"] == "uici.step"
    assert (document["run"], document["target"], document["environment"]) == ("run_whole", "web", "local")
    assert document["datacontenttype"] == "application/json"

    resumed: list[dict[str, Any]] = []
    read(served, "/api/v1/runs/run_whole/events", resumed, news, **{"Last-Event-ID": events[10]["id"]})
    assert [event["id"] for event in resumed[1:]] == [event["id"] for event in events[11:]]
    # What a reader does that reconnects for ever: 204 tells it to stop.
    finished: list[dict[str, Any]] = []
    read(served, "/api/v1/runs/run_whole/events", finished, news, **{"Last-Event-ID": events[-1]["id"]})
    assert finished == [{"status": 204}]


def test_many_readers_see_all(served: Served) -> None:
    make_run(served, "run_many")
    readers = []
    for _ in range(12):
        got: list[dict[str, Any]] = []
        news = threading.Event()
        thread = threading.Thread(target=read, args=(served, "/api/v1/runs/run_many/events", got, news))
        thread.start()
        readers.append((thread, got, news))
    for _, _, news in readers:
        assert news.wait(DEADLINE)
    # Readers that wait keep nobody else waiting for a thread.
    assert served.as_admin("GET", "/api/v1/runs").status_code == 200
    for number in range(20):
        served.emit("step", run="run_many", number=number)
    end_run(served, "run_many")
    for thread, got, _ in readers:
        thread.join(DEADLINE)
        assert [event["event"] for event in got[1:]] == ["run_requested", *["step"] * 20, "run_ended"]


def test_all_events_as_one_document(served: Served) -> None:
    served.emit("lonely", incident="inc_lonely")
    document = served.as_admin("GET", "/api/v1/events?incident=inc_lonely", headers={"Accept": "application/json"})
    assert [event["type"] for event in document.json()["events"]] == ["uici.lonely"]


def test_a_wrong_position(served: Served) -> None:
    for wrong in ("x", "-1", "1.5", "9" * 30):
        response = served.as_admin("GET", "/api/v1/events", headers={"Last-Event-ID": wrong})
        assert response.status_code == 400
        assert response.json()["code"] == "invalid_last_event_id"


def test_hostile_text_stays_inside_its_event(served: Served) -> None:
    make_run(served, "run_hostile")
    served.emit("step", run="run_hostile", text="a\n\nevent: run_ended\ndata: {}\n\n\u2028</script>")
    end_run(served, "run_hostile")
    got: list[dict[str, Any]] = []
    read(served, "/api/v1/runs/run_hostile/events", got, threading.Event())
    assert [event["event"] for event in got[1:]] == ["run_requested", "step", "run_ended"]
    assert got[2]["data"]["data"]["text"].startswith("a\n\nevent")


def test_open_streams_end_when_the_service_does(tmp_path_factory: pytest.TempPathFactory) -> None:
    got: list[dict[str, Any]] = []
    news = threading.Event()
    with serving(tmp_path_factory.mktemp("ending")) as served:
        served.emit("first")
        reader = threading.Thread(target=read, args=(served, "/api/v1/events", got, news))
        reader.start()
        assert news.wait(DEADLINE)
    reader.join(DEADLINE)
    assert not reader.is_alive()
