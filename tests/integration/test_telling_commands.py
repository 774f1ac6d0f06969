"""The command line about messages and bundles, against a service behind a real socket."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.integration.notify_rig import Heard, listening
from tests.integration.service_rig import PLATFORM, Served, alert, notification, serving
from tests.integration.test_service_cli import uici
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject
from uici.store.outbox import DeliveryState
from uici.store.schema import deliveries

CHANNELS = """
notify:
  channels:
    people: {url: "${env:TELLING_PEOPLE}"}
    broken: {url: "${env:TELLING_BROKEN}", kinds: [approval]}
"""


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    with listening() as heard:
        yield heard


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, heard: Heard) -> Iterator[Served]:
    patch = pytest.MonkeyPatch()
    patch.setenv("TELLING_PEOPLE", f"json://127.0.0.1:{heard.port}/hook-token")
    patch.setenv("TELLING_BROKEN", "json://127.0.0.1:1/broken-token")
    with serving(tmp_path_factory.mktemp("telling"), platform=PLATFORM + CHANNELS) as served:
        yield served
    patch.undo()


def opened(served: Served, name: str) -> str:
    """The incident of an alert that nobody can do anything about, once people were told."""
    answer = served.alert(notification(alert(name)))
    assert answer.status_code == 202, answer.text
    (incident,) = answer.json()["incidents"]
    until(lambda: served.as_admin("GET", f"/api/v1/incidents/{incident['id']}").json()["state"] == "closed", "its end")
    return str(incident["id"])


def status(served: Served) -> JsonObject:
    document: JsonObject = json.loads(uici(served, "notify", "status", "-o", "json").stdout)
    return document


def test_what_is_held_back_and_what_was_given_up_is_shown_and_tried_again(served: Served, heard: Heard) -> None:
    first = opened(served, "First")
    until(lambda: any(first in request.body for request in heard.requests), "people to be told")
    opened(served, "Second")
    until(lambda: any(each["state"] == "held" for each in status(served)["messages"]), "the second to be held")
    shown = uici(served, "notify", "status")
    assert shown.returncode == 0, shown.stderr
    assert "people" in shown.stdout
    assert "windows that are open" in shown.stdout
    assert "1 held back for a summary" in served.client.get("/readyz").text
    with served.application.store.write() as connection:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.channel == "people", deliveries.c.state == DeliveryState.SENT)
            .values(state=DeliveryState.DEAD, error="it was full", next_at=None, settled_at=deliveries.c.created_at)
        )
    assert "1 could not be delivered, the first given up" in served.client.get("/readyz").text
    assert served.client.get("/readyz").status_code == 200
    metrics = served.request("GET", "/metrics", served.tokens[Role.VIEWER]).text
    assert 'uici_messages{channel="people",state="dead"} 1.0' in metrics
    assert 'uici_messages{channel="people",state="held"} 1.0' in metrics
    refused = uici(served, "notify", "retry", "--all-dead", role=Role.VIEWER)
    assert refused.returncode == 3
    told = len(heard.requests)
    again = uici(served, "notify", "retry", "--all-dead", "-o", "json", role=Role.OPERATOR)
    assert [each["channel"] for each in json.loads(again.stdout)["retried"]] == ["people"]
    until(lambda: len(heard.requests) == told + 1, "the dead message to be sent")
    assert uici(served, "notify", "retry").returncode == 2
    assert "no message was given up" in uici(served, "notify", "retry", "--all-dead").stdout


def test_a_test_message_says_of_each_channel_what_happened(served: Served) -> None:
    result = uici(served, "notify", "test", "-o", "json")
    assert result.returncode == 1, result.stderr
    results = {each["channel"]: each for each in json.loads(result.stdout)["results"]}
    assert results["people"]["accepted"] is True
    assert results["log"]["accepted"] is True
    assert results["broken"]["accepted"] is False
    assert "onnection error" in results["broken"]["error"]
    assert "-token" not in result.stdout + result.stderr
    assert uici(served, "notify", "test", "people").returncode == 0
    unknown = uici(served, "notify", "test", "peopl")
    assert unknown.returncode == 1
    assert "did you mean 'people'" in unknown.stderr


def test_a_bundle_is_fetched_whole_and_overwrites_nothing(served: Served, tmp_path: Path) -> None:
    incident = opened(served, "Bundled")
    result = uici(served, "incidents", "bundle", incident, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    path = tmp_path / f"uici-{incident}.zip"
    with zipfile.ZipFile(path) as archive:
        assert incident in archive.read("README.txt").decode()
    assert uici(served, "incidents", "bundle", incident, cwd=tmp_path).returncode == 1, "the file is there"
    named = uici(served, "incidents", "bundle", incident, "--out", "ticket.zip", role=Role.VIEWER, cwd=tmp_path)
    assert named.returncode == 0, named.stderr
    assert (tmp_path / "ticket.zip").read_bytes() == path.read_bytes()
    missing = uici(served, "incidents", "bundle", "inc_none", "--out", "none.zip", cwd=tmp_path)
    assert missing.returncode == 1
    assert "there is no incident" in missing.stderr
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "ticket.zip"}
    assert uici(served, "incidents", "bundle").returncode == 2
    assert uici(served, "incidents", "a", "b").returncode == 2
    answer = served.request("GET", f"/api/v1/incidents/{incident}/bundle", served.tokens[Role.VIEWER])
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{path.name}"'
    assert answer.content == path.read_bytes()
