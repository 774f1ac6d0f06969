"""Changing the configuration under a running UICI: by files, by request and by signal."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.e2e.server import Server, write_site
from tests.integration.runs_rig import told
from tests.integration.service_rig import TARGETS, Served, alert, notification, serving
from tests.waiting import until
from uici.access.roles import Role
from uici.catalogue.locations import shipped_operations

PLATFORM = "catalogue: {reload_seconds: 0.05}\n"
VERB = (shipped_operations() / "reload_service.yml").read_text()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, platform=PLATFORM) as served:
        yield served


def events(served: Served, type_: str) -> list[dict[str, Any]]:
    return [event.data for event in served.application.events.read() if event.type == type_]


def configuration(served: Served) -> dict[str, Any]:
    document: dict[str, Any] = served.as_admin("GET", "/api/v1/configuration").json()
    return document


def check(served: Served) -> str:
    answer = served.client.get("/readyz")
    assert answer.status_code == 200
    (found,) = [each for each in answer.json()["checks"] if each["name"] == "configuration"]
    assert found["ok"] is True
    detail: str = found["detail"]
    return detail


def metric(served: Served, name: str) -> float:
    lines = served.as_admin("GET", "/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return float(line.split()[1])


def test_a_changed_file_is_in_force_for_the_next_alert(served: Served, tmp_path: Path) -> None:
    assert served.alert(notification(alert("Before", service="late"))).json()["incidents"][0]["target"] is None
    before = configuration(served)
    (tmp_path / "config" / "targets.yml").write_text(
        TARGETS
        + "  late:\n    match: ['service=\"late\"']\n    bindings: {local: {program: late, command: [/bin/true]}}\n"
    )
    until(lambda: "late" in served.application.site.targets, "the new target")
    answer = served.alert(notification(alert("After", service="late"))).json()
    assert answer["incidents"][0]["target"] == "late"
    (event,) = until(lambda: events(served, "configuration_reloaded"), "the reload")
    assert event["changes"] == {"targets": {"added": ["late"]}}
    assert (event["actor"], event["former"]) == ("files", before["digest"])
    now = configuration(served)
    assert now["digest"] == event["digest"] != before["digest"]
    assert now["loaded_at"] > before["loaded_at"]
    assert metric(served, "uici_configuration_problems") == 0
    assert metric(served, "uici_configuration_loaded_timestamp_seconds") > 0


def test_a_broken_file_changes_nothing_and_is_told_once(served: Served, tmp_path: Path) -> None:
    before = configuration(served)
    assert (before["rejected"], before["directory"]) == (None, str(tmp_path / "config"))
    targets = tmp_path / "config" / "targets.yml"
    targets.write_text("targets:\n  web: {bindings: {nowhere: {program: web}}}\n  other: 1\n")
    (rejected,) = until(lambda: events(served, "configuration_rejected"), "the rejection")
    assert rejected["count"] == 2
    assert f"{targets}:2:" in rejected["problems"][0]
    assert "web" in served.application.site.targets
    shown = configuration(served)
    assert shown["digest"] == before["digest"] == rejected["in_force"]
    assert [each["code"] for each in shown["rejected"]["problems"]] == ["unknown_environment", "wrong_type"]
    assert "a newer one was rejected at" in check(served)
    assert "2 problems, the first: " in check(served)
    assert metric(served, "uici_configuration_problems") == 2

    # The same content again, by whatever way, is no news.
    refused = served.as_admin("POST", "/api/v1/configuration:reload")
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["code"] == "configuration_rejected"
    assert [each["code"] for each in problem["errors"]] == ["unknown_environment", "wrong_type"]
    targets.write_text("targets: {}\n")
    assert served.as_admin("POST", "/api/v1/configuration:reload").status_code == 200
    targets.write_text("targets:\n  web: {bindings: {nowhere: {program: web}}}\n  other: 1\n")
    assert served.as_admin("POST", "/api/v1/configuration:reload").status_code == 409
    (message,) = [each for each in told(served.application) if each["kind"] == "configuration_rejected"]
    assert message["problems"] == rejected["problems"]
    assert len(events(served, "configuration_rejected")) == 1


def test_a_verb_must_pass_its_own_tests(served: Served, tmp_path: Path) -> None:
    verbs = tmp_path / "config" / "operations"
    verbs.mkdir()
    (verbs / "nudge_service.yml").write_text(VERB.replace("query: {signal: HUP}", "query: {signal: TERM}"))
    refused = served.as_admin("POST", "/api/v1/configuration:reload").json()
    assert [each["code"] for each in refused["errors"]] == ["verb_test_failed"]
    assert "nudge_service" not in served.application.site.operations
    (verbs / "nudge_service.yml").write_text(VERB)
    assert served.as_admin("POST", "/api/v1/configuration:reload").status_code == 200
    assert served.as_admin("GET", "/api/v1/operations/nudge_service").status_code == 200


def test_platform_settings_wait_and_secrets_are_learned(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hunter2-of-a-new-environment"
    monkeypatch.setenv("NEW_PLACE_TOKEN", secret)
    config = tmp_path / "config"
    (config / "platform.yml").write_text(PLATFORM + "runs: {threads: 3}\n")
    place = {"platform": "local", "prometheus": {"url": "http://127.0.0.1:9", "bearer_token": "${env:NEW_PLACE_TOKEN}"}}
    (config / "environments.yml").write_text(json.dumps({"environments": {"new": place}}))
    answer = served.as_admin("POST", "/api/v1/configuration:reload")
    assert answer.json()["needs_restart"] == ["runs.threads"]
    assert "waiting for a restart: runs.threads" in check(served)
    assert served.application.site.platform.runs.threads == 32
    served.emit("note", said=f"it is {secret}")
    assert secret not in str(events(served, "note"))


def test_what_is_shown_is_masked(served: Served, tmp_path: Path) -> None:
    (tmp_path / "config" / "strategies.yml").write_text("strategies: {'token=abcdef123456': {}}\n")
    refused = served.as_admin("POST", "/api/v1/configuration:reload")
    assert refused.status_code == 409
    shown = refused.text + json.dumps(configuration(served)) + check(served) + str(told(served.application))
    assert "abcdef123456" not in shown


def test_a_signal_reloads_where_nobody_looks(tmp_path: Path) -> None:
    folder = write_site(tmp_path / "site", platform={"catalogue": {"reload_seconds": 0}}, targets={"targets": {}})
    with Server(folder) as server:
        bindings = {"local": {"program": "web", "command": ["/bin/true"]}}
        (folder / "targets.yml").write_text(json.dumps({"targets": {"web": {"bindings": bindings}}}))
        assert server.get("/targets")["targets"] == []
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(server.get("/targets")["targets"]) == 1, "the reload", server.tail)
        assert server.get("/configuration", Role.VIEWER)["reload_seconds"] == 0
        (folder / "targets.yml").write_text("targets: 1\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.get("/configuration")["rejected"] is not None, "the rejection", server.tail)
        assert server.ready()
    assert "configuration_rejected" in server.tail()


def test_a_verb_that_fails_its_own_test_never_serves(tmp_path: Path) -> None:
    folder = write_site(tmp_path / "site")
    server = Server(folder)
    (folder / "operations").mkdir()
    (folder / "operations" / "nudge_service.yml").write_text(VERB.replace("query: {signal: HUP}", "query: {}"))
    server.start(wait=False)
    assert server.process.wait(60) == 1
    assert f"{folder}/operations/nudge_service.yml:5:" in server.tail()
    assert "verb_test_failed" in server.tail()
    server.http.close()


def test_a_defect_while_looking_does_not_end_the_looking(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, config = os.open, str(tmp_path / "config")

    def failing(path: Any, *more: Any, **named: Any) -> int:
        if str(path) == config:
            raise MemoryError("no room to look")
        return opened(path, *more, **named)

    monkeypatch.setattr(os, "open", failing)
    with capture_logs():  # its rendering of a traceback for a terminal takes half a minute
        until(
            lambda: "newer ones cannot be looked at: MemoryError: no room to look" in check(served),
            "the word of what cannot be looked at",
        )
        monkeypatch.undo()
    until(lambda: "cannot be looked at" not in check(served), "its end")
