"""A configuration that is changed while a run is under way: the run goes on with its own, the guards do not."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import LADDER, POLICIES, alert, closed, run_of, running, send, site
from tests.integration.test_runs_interrupted import UNDONE, once
from tests.waiting import until
from uici.bootstrap import Application
from uici.model.site import Site
from uici.runs.pinning import part_of


@pytest.fixture
def world() -> World:
    return World()


def changing(application: Application, config: Path, **files: str) -> Callable[[], None]:
    """What replaces the configuration in force by one with these files."""

    def change() -> None:
        for name, text in files.items():
            (config / f"{name}.yml").write_text(text)
        application.configuration.reload("ann")

    return change


def test_a_ladder_under_way_is_gone_on_with_as_it_was(tmp_path: Path, world: World) -> None:
    world.service("web").state = "running"
    world.service("web").healthy_when_running = False
    config = site(tmp_path / "c", "web", strategies=UNDONE)
    with running(config, world) as application:
        once(world, "after", "program.scale", changing(application, config, strategies=LADDER.replace("down:", "up:")))
        incident = closed(application, send(application, alert("web")))
        run = application.control.run(incident["run"])
    assert run["tried"] == ["scale", "restart"]
    assert world.changes("web") == ["program.scale", "program.scale", "program.restart"]


def test_a_run_goes_on_after_a_restart_with_another_configuration(tmp_path: Path, world: World) -> None:
    world.service("web").state = "running"
    world.service("web").healthy_when_running = False
    config = site(tmp_path / "c", "web", strategies=UNDONE.replace("within: 0.2", "within: 20"))
    with running(config, world) as application:
        reached = []
        once(world, "after", "program.scale", lambda: reached.append(True))
        accepted = send(application, alert("web"))
        until(lambda: reached, "the change")
    site(tmp_path / "c", "web", strategies=LADDER.replace("down:", "up:"))
    with running(config, world) as application:
        once(world, "perform", "program.health", lambda: setattr(world.service("web"), "healthy_when_running", True))
        send(application, alert("web", status="resolved"))
        assert closed(application, accepted)["outcome"] == "healed"


def test_a_run_that_has_not_looked_follows_the_new_configuration(tmp_path: Path, world: World) -> None:
    config = site(tmp_path / "c", "web", policies=POLICIES.replace("seconds: 0", "seconds: 600"))
    with running(config, world) as application:
        closed(application, send(application, alert("web", "Nobody")))
        accepted = send(application, alert("web"))
        until(lambda: run_of(application, accepted)["waiting_for"] == "cooldown", "the rest")
        changing(
            application, config, policies=POLICIES, strategies=LADDER.replace("restart_service", "start_service")
        )()
        # One more alert wakes the run.
        send(application, dataclasses.replace(alert("web"), fingerprint="another"))
        until(lambda: world.changes("web") == ["program.start"], "the remedy of the new configuration")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"policies": POLICIES.replace("autonomy: auto", "autonomy: observe")}, "autonomy is observe"),
        ({"targets": "targets: {}\n"}, "does not bind the target"),
    ],
    ids=["autonomy", "target"],
)
def test_the_guards_read_the_configuration_in_force(
    tmp_path: Path, world: World, change: dict[str, str], why: str
) -> None:
    config = site(tmp_path / "c", "web")
    with running(config, world) as application:
        once(world, "perform", "program.status", changing(application, config, **change))
        incident = closed(application, send(application, alert("web")))
    assert why in incident["reason"]
    assert world.changes("web") == []


def test_a_part_survives_the_store_and_gives_the_same_plan(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web"), world) as application:
        shown = application.control.preview(
            {"plan": {"steps": [{"operation": "scale_service", "target": "web", "parameters": {"replicas": 2}}]}}, None
        )["previews"][0]
        part = part_of(application.site, "local", "down", ["scale_service"])
        read_back = Site.model_validate(part.model_dump(mode="json", exclude_unset=True))
        assert read_back == part
        run = application.control.start({"plan": shown["plan"]}, "ann")
    assert run["cid"] == shown["cid"]


def test_a_part_holds_what_its_operations_lead_to_and_no_more(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web"), world) as application:
        part = part_of(application.site, "local", None, ["rollback_version"])
    assert sorted(part.operations) == [
        "check_service_health", "deploy_version", "describe_service", "get_service_status", "rollback_version",
    ]  # fmt: skip
    assert not part.strategies
    assert list(part.environments) == ["local"]
