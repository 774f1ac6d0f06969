"""The whole fleet at once: every target in every environment, where one that is silent costs nobody else an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.docker import DockerExecutor
from tests.doubles.memory_executor import World
from tests.integration.runs_rig import alert, closed, send
from uici.bootstrap import Application
from uici.model.call import Call
from uici.model.errors import Problem

PROGRAM = "{program: NAME, command: [/bin/true]}"
TARGETS = f"""
targets:
  db:
    bindings: {{near: {PROGRAM.replace("NAME", "db")}, far: {PROGRAM.replace("NAME", "db")}}}
  web:
    bindings:
      near: {PROGRAM.replace("NAME", "web")}
      far: {PROGRAM.replace("NAME", "web")}
      containers: {{container: web}}
"""
ENVIRONMENTS = """
default: far
environments:
  near: {platform: local}
  far: {platform: local}
  containers: {platform: docker, connection: {base_url: "unix:///nowhere/docker.sock"}}
"""


@pytest.fixture
def world() -> World:
    world = World()
    for name in ("db", "web"):
        for environment in ("near", "far"):
            world.service(name, environment).state = "running"
    return world


@pytest.fixture
def application(tmp_path: Path, world: World) -> Iterator[Application]:
    config = tmp_path / "site"
    config.mkdir()
    (config / "targets.yml").write_text(TARGETS)
    (config / "environments.yml").write_text(ENVIRONMENTS)
    (config / "platform.yml").write_text("service: {fleet_seconds: 5}\n")
    classes = {"local": world.executor_class(), "docker": DockerExecutor}
    application = Application(config, f"sqlite:///{tmp_path / 'uici.db'}", executors=classes)
    application.start()
    try:
        yield application
    finally:
        application.stop()


def states(application: Application, environment: str | None = None) -> dict[tuple[str, str], str]:
    services = application.control.fleet(environment)["services"]
    return {(row["environment"], row["target"]): row["state"] for row in services}


def test_every_target_is_shown_in_every_environment_that_it_is_bound_in(application: Application, world: World) -> None:
    world.service("db", "near").state = "exited"
    found = application.control.fleet(None)
    assert states(application) == {
        ("far", "db"): "running",
        ("far", "web"): "running",
        ("containers", "web"): "unknown",
        ("near", "db"): "exited",
        ("near", "web"): "running",
    }
    reachable = {each["name"]: each["reachable"] for each in found["environments"]}
    assert reachable == {"far": True, "containers": False, "near": True}
    lost = next(row for row in found["services"] if row["environment"] == "containers")
    assert "/nowhere/docker.sock" in lost["detail"]
    assert world.done == []


def test_a_silent_environment_costs_only_its_own_targets_their_answer(application: Application, world: World) -> None:
    answer = threading.Event()

    def hang(moment: str, environment: str, call: Call) -> None:
        if environment == "far" and call.arguments["target"]["program"] == "web":
            answer.wait()

    world.hook = hang
    try:
        found = {
            (row["environment"], row["target"]): (row["state"], row["detail"])
            for row in application.control.fleet(None)["services"]
        }
    finally:
        answer.set()
    assert found["near", "web"] == found["near", "db"] == found["far", "db"] == ("running", "")
    assert found["far", "web"] == ("unknown", "no answer within 5 s")


def test_a_target_is_seen_elsewhere_when_its_first_environment_is_down(application: Application, world: World) -> None:
    assert application.control.target("web")["seen_in"] == "far"

    def down(moment: str, environment: str, call: Call) -> None:
        if environment == "far":
            raise ConnectionError("the platform is gone")

    world.hook = down
    seen = application.control.target("web")
    assert seen["seen_in"] == "near"
    far = seen["environments"][0]
    assert (far["environment"], far["state"]) == ("far", "unknown")
    assert "the platform is gone" in far["detail"]


def test_open_incidents_stand_beside_their_services(application: Application, world: World) -> None:
    world.service("web", "far").state = "exited"
    opened = send(application, alert("web", "Ununderstood"))
    closed(application, opened)
    other = send(application, alert("db", "Ununderstood"))
    row = next(row for row in application.control.fleet("far")["services"] if row["target"] == "db")
    incident = application.control.incident(other.incidents[0].id)
    assert row["incident"] == (incident["id"] if incident["state"] == "open" else None)


@pytest.mark.parametrize("given", ["fra", ""])
def test_an_environment_that_does_not_exist_is_refused(application: Application, given: str) -> None:
    with pytest.raises(Problem, match="there is no environment") as refused:
        application.control.fleet(given)
    assert "far" in refused.value.allowed
