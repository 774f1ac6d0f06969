"""The bundle of an incident, and the results that are kept with it."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import POLICIES, alert, closed, incident_of, running, send, site
from uici.bootstrap import Application
from uici.model.masking import MASK, register_secret
from uici.model.shortening import shortened, size_of
from uici.store.schema import events, kept_results

PICTURE = """
operation:
  summary: Take a picture of the service
  risk: low
  mutates: false
  keep_result: true
translations:
  local:
    calls: [{call: program.describe, arguments: {target: "${target}"}}]
  docker: {unsupported: the tests have no containers}
tests:
  - name: it describes
    platform: local
    target: {program: web, command: [/bin/true]}
    expect: [{call: program.describe, arguments: {target: {program: web, command: [/bin/true]}}}]
"""
LADDER = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status, take_picture]
    remedies:
      - name: look_again
        steps: [take_picture, restart_service]
        verify: {within: 1, stable_for: 0.1, confirm_within: 0, interval: 0.1}
"""


@pytest.fixture
def world() -> World:
    return World()


def picture_site(folder: Path, platform: str = "") -> Path:
    config = site(folder / "c", "web", strategies=LADDER, platform=platform, policies=POLICIES)
    (config / "operations").mkdir()
    (config / "operations" / "take_picture.yml").write_text(PICTURE)
    return config


def bundle(application: Application, incident: str) -> bytes:
    with application.control.bundle(incident) as file:
        return file.read()


def files(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def healed(application: Application) -> Any:
    accepted = send(application, alert("web", severity="critical", note="password=in-a-label"))
    incident = closed(application, accepted)
    assert incident["outcome"] == "healed", incident["reason"]
    return incident


def test_a_bundle_tells_people_without_uici_everything_and_no_secret(tmp_path: Path, world: World) -> None:
    world.service("web").environment["DB_PASSWORD"] = "in-the-environment"  # a canary
    with running(picture_site(tmp_path), world) as application:
        incident = healed(application)
        content = bundle(application, incident["id"])
        assert bundle(application, incident["id"]) == content, "the same state gives the same bytes"
    found = files(content)
    run = incident["run"]
    assert {
        "README.txt", "incident.json", "alerts.json", "findings.json", "timeline.jsonl", "guards.json", "verdicts.json",
        "messages.json", "versions.json", f"runs/{run}/run.json", f"runs/{run}/plans.json", f"runs/{run}/calls.json",
        f"runs/{run}/approvals.json", f"runs/{run}/changes.json", "results/001-take_picture.json",
    } <= set(found)  # fmt: skip
    readme = found["README.txt"]
    for words in (f"Incident {incident['id']}: Down on web", "Where     local/web", "Outcome   healed",
                  "look_again; healed, verdict effective", "Severity  critical"):  # fmt: skip
        assert words in readme
    (call,) = json.loads(found[f"runs/{run}/calls.json"])
    assert (call["call"], call["outcome"], call["state_before"]) == ("program.restart", "done", {"starts": 0})
    assert call["result"]["changed"] is True
    (plan,) = json.loads(found[f"runs/{run}/plans.json"])
    assert [step["step"]["operation"] for step in plan["steps"]] == ["take_picture", "restart_service"]
    timeline = [json.loads(line) for line in found["timeline.jsonl"].splitlines()]
    assert [event["seq"] for event in timeline] == sorted({event["seq"] for event in timeline})
    assert {"incident_opened", "diagnosed", "planned", "guarded", "call_sent", "verified"} <= {
        event["type"] for event in timeline
    }
    picture = json.loads(found["results/001-take_picture.json"])
    assert (picture["operation"], picture["phase"], picture["shortened"]) == ("take_picture", "diagnosis", False)
    assert picture["result"]["configuration"]["environment"] == {"DB_PASSWORD": MASK}
    for name, text in found.items():
        assert "in-the-environment" not in text, name
        assert "in-a-label" not in text, name


def test_kept_results_are_listed_with_the_incident_and_not_in_the_timeline(tmp_path: Path, world: World) -> None:
    with running(picture_site(tmp_path), world) as application:
        incident = healed(application)
        with application.store.read() as connection:
            (step,) = connection.execute(
                select(events.c.data).where(events.c.type == "step_done").order_by(events.c.seq).limit(1)
            ).scalars()
            rows = connection.execute(select(kept_results)).all()
    assert step["operation"] == "take_picture"
    assert set(step["result"]) == {"kept_bytes", "shortened"}
    # Seen again in the plan it was still the same, so it is there once.
    assert [(each["operation"], each["phase"]) for each in incident["kept_results"]] == [("take_picture", "diagnosis")]
    assert incident["kept_results"][0]["bytes"] == rows[0].bytes == size_of(rows[0].result)


def test_kept_results_are_bounded_each_and_together(tmp_path: Path, world: World) -> None:
    world.service("web").environment["LONG"] = "x" * 50_000
    platform = "records: {result_bytes: 2048, incident_bytes: 2000}"
    with running(picture_site(tmp_path, platform), world) as application:

        def change(moment: str, environment: str, call: Any) -> None:
            if moment == "after" and call.name == "program.describe":
                world.service("web").environment["LONG"] += "y" * 1000

        world.hook = change
        incident = healed(application)
        rows = incident["kept_results"]
        results = [json.loads(text) for name, text in files(bundle(application, incident["id"])).items()
                   if name.startswith("results/")]  # fmt: skip
    assert [row["shortened"] for row in rows] == [True, True]
    assert rows[0]["bytes"] <= 2048
    assert "characters left out" in results[0]["result"]["configuration"]["environment"]["LONG"]
    assert "have their 2000 bytes" in results[1]["result"]["left_out"]


def test_a_bundle_that_would_be_too_large_says_what_it_lacks(tmp_path: Path, world: World) -> None:
    world.service("web").environment["LONG"] = "x" * 200_000
    with running(picture_site(tmp_path, "records: {bundle_bytes: 100000}"), world) as application:
        incident = healed(application)
        found = files(bundle(application, incident["id"]))
    assert "results/001-take_picture.json" not in found
    assert "Left out" in found["README.txt"]
    assert "results/001-take_picture.json (" in found["README.txt"]
    assert sum(len(text.encode()) for text in found.values()) <= 100_000


def test_a_secret_that_is_learned_later_is_masked_in_the_bundle(tmp_path: Path, world: World) -> None:
    world.service("web").environment["WORD"] = "learned-much-later"
    with running(picture_site(tmp_path), world) as application:
        incident = healed(application)
        assert "learned-much-later" in files(bundle(application, incident["id"]))["results/001-take_picture.json"]
        register_secret("learned-much-later")
        assert not any("learned-much-later" in text for text in files(bundle(application, incident["id"])).values())


def test_an_incident_under_way_has_a_bundle_too(tmp_path: Path, world: World) -> None:
    config = site(tmp_path / "c", "web", policies=POLICIES.replace("auto\n", "approve\n"))
    with running(config, world) as application:
        accepted = send(application, alert("web"))
        found = files(bundle(application, str(incident_of(application, accepted)["id"])))
    assert "Outcome   still open" in found["README.txt"]


# --- shortening -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"log": "line\n" * 100_000},
        {"lines": [f"line {number}" for number in range(50_000)]},
        {"rows": [{"text": "x" * 3000, "n": [1] * 500}] * 300},
        {f"member {number}": number for number in range(50_000)},
        {f"{'k' * 300}{number}": {"a": "b"} for number in range(5000)},
    ],
)
def test_what_is_shortened_fits_and_says_so(value: dict[str, Any]) -> None:
    fitting, cut = shortened(value, 20_000)
    assert cut
    assert size_of(fitting) <= 20_000
    assert "left out" in json.dumps(fitting) or "left_out" in fitting


def test_what_fits_stays_as_it_is() -> None:
    value: dict[str, Any] = {"a": [1, None, "größer"], "b": {"c": 1.5}}
    assert shortened(value, 1024) == (value, False)
