"""A call that is repeated until its result is as wanted: to the end, to its deadline, over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import alert, closed, ended, running, send, site, told
from tests.waiting import until
from uici.bootstrap import Application
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind

VERB = """
operation:
  summary: Grow the service, wait for what it should become, and restart what was found
  risk: medium
  mutates: true
  parameters:
    replicas: {type: integer, minimum: 1, maximum: 9}
    seconds: {type: integer, minimum: 0, maximum: 9, default: 1}
  required: [replicas]
  before:
    keep: {replicas: configuration.replicas}
  inverse: {operation: scale_service, parameters: {replicas: "${before.replicas}"}}
  verification:
    expect: [{field: seen, equals: "${parameters.replicas}"}, {field: state, equals: running}]
    within_seconds: 5

translations:
  local:
    before:
      calls: [{call: program.describe, arguments: {target: "${target}"}}]
    calls:
      - {id: grown, call: program.scale, arguments: {target: "${target}", replicas: "${parameters.replicas}"}}
      - id: settled
        call: program.status
        arguments: {target: "${target}"}
        until:
          - {field: state, equals: running}
          - {field: desired, equals: "${calls.grown.replicas}"}
        within_seconds: WITHIN
        every_seconds: 0.1
      - {id: again, call: program.restart, arguments: {target: "${target}"}}
    verification:
      calls: [{id: look, call: program.describe, arguments: {target: "${target}"}}]
      result: {seen: "${calls.look.configuration.replicas}", state: "${calls.settled.state}"}
  docker: {unsupported: the test has programs only}

tests:
  - {name: too many are refused, platform: local, target: {program: web}, parameters: {replicas: 99}, error: at most}
"""


@pytest.fixture
def world() -> World:
    return World()


def prepared_site(folder: Path, within: str = "30") -> Path:
    config = site(folder, "web")
    (config / "operations").mkdir()
    (config / "operations" / "grow_service.yml").write_text(VERB.replace("WITHIN", within))
    return config


def start(application: Application) -> str:
    step = {"operation": "grow_service", "target": "web", "parameters": {"replicas": 3}}
    request = {"plan": {"environment": "local", "steps": [step]}}
    return str(application.control.start(request, "ann")["id"])


def polls(application: Application, run: str) -> str | None:
    found: str | None = application.control.run(run)["waiting_for"]
    return found


def test_a_poll_goes_on_when_what_it_waits_for_has_come(tmp_path: Path, world: World) -> None:
    with running(prepared_site(tmp_path / "c"), world) as application:
        run = start(application)
        until(lambda: polls(application, run) == "poll", "the poll")
        assert world.changes("web") == ["program.scale"]
        world.service("web").state = "running"
        assert ended(application, run)["verdict"] == "effective"
    assert world.changes("web") == ["program.scale", "program.restart"]


def test_a_poll_survives_a_restart_and_sends_nothing_twice(tmp_path: Path, world: World) -> None:
    config = prepared_site(tmp_path / "c")
    with running(config, world) as application:
        run = start(application)
        until(lambda: polls(application, run) == "poll", "the poll")
    world.service("web").state = "running"
    with running(config, world) as application:
        assert ended(application, run)["verdict"] == "effective"
    assert world.changes("web") == ["program.scale", "program.restart"]


def test_what_never_comes_is_a_failed_step_and_is_undone(tmp_path: Path, world: World) -> None:
    def hook(moment: str, environment: str, call: Call) -> None:
        if moment == "perform" and call.name == "program.scale" and call.arguments["replicas"] == 1:
            world.service("web").state = "running"  # else undo would wait for it

    world.hook = hook
    with running(prepared_site(tmp_path / "c", "0.3"), world) as application:
        run = ended(application, start(application))
        shown: Any = str(application.control.run(run["id"])) + str(told(application))
    assert "not so within 0.3 s: wanted state equals 'running', saw 'exited'" in shown
    assert world.changes("web") == ["program.scale", "program.scale"]
    assert world.service("web").replicas == 1


STRATEGY = """
strategies:
  down:
    match: ['alertname="Down"']
    remedies:
      - {name: grow, steps: [{operation: grow_service, parameters: {replicas: 3}}]}
"""


@pytest.mark.parametrize("code", ["gitops_owned", "refused"])
def test_what_earlier_calls_of_a_step_changed_is_undone_when_a_later_one_is_refused(
    tmp_path: Path, world: World, code: str
) -> None:
    world.service("web").state = "running"
    world.service("web").healthy_when_running = False

    def hook(moment: str, environment: str, call: Call) -> None:
        if moment == "perform" and call.name == "program.restart":
            raise CallError(FailureKind.PERMANENT, code, "not this one")

    world.hook = hook
    config = prepared_site(tmp_path / "c")
    (config / "strategies.yml").write_text(STRATEGY)
    with running(config, world) as application:
        incident = closed(application, send(application, alert("web")))
        run = application.control.run(incident["run"])
    assert incident["outcome"] == "escalated"
    assert world.changes("web") == ["program.scale", "program.scale"]
    assert [row["what"] for row in run["changes"]] == ["changed", "restored"]
    assert world.service("web").replicas == 1


def test_people_are_not_told_that_what_was_left_alone_was_undone(tmp_path: Path, world: World) -> None:
    world.service("web").state = "running"  # and well, so there is no reason to put back what helps

    def hook(moment: str, environment: str, call: Call) -> None:
        if moment == "perform" and call.name == "program.restart":
            raise CallError(FailureKind.PERMANENT, "gitops_owned", "not this one")

    world.hook = hook
    config = prepared_site(tmp_path / "c")
    (config / "strategies.yml").write_text(STRATEGY)
    with running(config, world) as application:
        closed(application, send(application, alert("web")))
        (message,) = told(application)
    assert world.changes("web") == ["program.scale"]
    assert [(one["remedy"], one["undone"]) for one in message["tried"]] == [("grow", False)]


def test_a_platform_that_is_away_for_a_while_is_asked_again(tmp_path: Path, world: World) -> None:
    asked: list[str] = []

    def hook(moment: str, environment: str, call: Call) -> None:
        if moment == "perform" and call.name == "program.status":
            asked.append(call.id)
            if len(asked) < 4:
                raise CallError(FailureKind.TEMPORARY, "away", "nobody answers")
            world.service("web").state = "running"

    world.hook = hook
    with running(prepared_site(tmp_path / "c"), world) as application:
        assert ended(application, start(application))["verdict"] == "effective"
    assert len(asked) >= 4
    assert world.changes("web") == ["program.scale", "program.restart"]


def test_a_poll_can_be_cancelled(tmp_path: Path, world: World) -> None:
    with running(prepared_site(tmp_path / "c"), world) as application:
        run = start(application)
        until(lambda: polls(application, run) == "poll", "the poll")
        application.control.cancel(run, "ann", "enough")
        assert "cancelled by ann" in ended(application, run)["reason"]
    assert world.changes("web") == ["program.scale"]


def test_a_preview_tells_polls_and_selections(tmp_path: Path, world: World) -> None:
    with running(prepared_site(tmp_path / "c"), world) as application:
        step = {"operation": "grow_service", "target": "web", "parameters": {"replicas": 3}}
        shown: JsonObject = application.control.preview({"plan": {"environment": "local", "steps": [step]}}, None)
    preview = shown["previews"][0] if "previews" in shown else shown
    grown, settled, _ = preview["steps"][0]["calls"]
    assert "poll" not in grown
    assert settled["poll"]["until"] == ["state equals 'running'", "desired equals {'$select': 'calls.grown.replicas'}"]
    assert settled["poll"]["within_seconds"] == 30
    assert any("sent again until" in note for note in preview["notes"])
    changed = {each["field"]: each for each in preview["steps"][0]["changes"]}
    assert changed["configuration.replicas"]["now"] == 1
    assert world.changes("web") == []
