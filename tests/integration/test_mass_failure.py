"""Much of an environment fails at once: UICI stops by itself, tells people once, and goes on when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import POLICIES, UNBRAKED, alert, closed, run_of, running, send, site, told
from tests.waiting import until
from uici.bootstrap import Application

NAMES = tuple(f"svc{number}" for number in range(6))
BRAKE = "mass_failure: {share: 0.5, at_least: 3, within_seconds: 600, release_share: 0.34, release_seconds: 0}\n"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return site(tmp_path / "site", *NAMES, policies=POLICIES.replace(UNBRAKED, BRAKE))


@pytest.fixture
def application(config: Path, world: World) -> Iterator[Application]:
    with running(config, world) as application:
        yield application


def all_asked(application: Application, runs: dict[str, str]) -> bool:
    return all(application.control.run(run)["waiting_for"] == "approval" for run in runs.values())


def fail(application: Application, *names: str) -> dict[str, str]:
    """The runs of these targets, which fail in one notification."""
    accepted = send(application, *(alert(name) for name in names))
    found = {incident.target: incident.id for incident in accepted.incidents}
    return {name: application.control.incident(found[name])["run"] for name in names}


def test_the_brake_survives_a_restart_and_lets_go_when_enough_is_resolved(config: Path, world: World) -> None:
    with running(config, world) as application:
        runs = fail(application, *NAMES[:4])
        until(partial(all_asked, application, runs), "every run waits for people")
        assert world.done == []
        (message,) = told(application)
        assert "mass failure: 4 of 6 targets in local failed within 600 s" in message["title"]
        assert application.control.brakes()["brakes"][0]["environment"] == "local"
    with running(config, world) as application:
        assert application.control.brakes()["brakes"], "it is still on"
        # A person may allow a single one.
        shown = application.control.run(runs["svc0"])
        application.control.approve(runs["svc0"], shown["cid"], "ann", "")
        until(lambda: world.changes("svc0"), "what was approved is done")
        assert {name for _, name in world.done} == {"svc0"}
        send(application, *(alert(name, status="resolved") for name in NAMES[:3]))
        # One of six is left, which is below what releases it: it goes on by itself.
        until(lambda: world.changes("svc3"), "the last one is acted on without a person")
        assert application.control.brakes()["brakes"] == []
        assert len(told(application)) == 1


def test_a_person_takes_it_off_and_it_stays_off(application: Application, world: World) -> None:
    runs = fail(application, *NAMES[:4])
    until(partial(all_asked, application, runs), "every run waits for people")
    application.control.lift_brake("local", "ann", "the switch is back")
    until(lambda: len({name for _, name in world.done}) == 4, "all are acted on")
    assert application.control.brakes()["brakes"] == []


def test_a_root_with_its_dependents_counts_as_one(tmp_path: Path, world: World) -> None:
    config = site(tmp_path / "site", *NAMES, policies=POLICIES.replace(UNBRAKED, BRAKE))
    path = config / "targets.yml"
    text = path.read_text()
    for name in NAMES[1:5]:
        text = text.replace(f"  {name}: {{", f"  {name}: {{depends_on: [svc0], ")
    path.write_text(text)
    with running(config, world) as application:
        fail(application, *NAMES[:5])
        until(lambda: world.changes("svc0"), "the root is healed without a person")
        assert application.control.brakes()["brakes"] == []


def test_a_few_that_fail_are_no_mass_failure(application: Application, world: World) -> None:
    accepted = [send(application, alert(name)) for name in NAMES[:2]]
    for name, found in zip(NAMES, accepted, strict=False):
        until(partial(world.changes, name), "it is acted on")
        send(application, alert(name, status="resolved"))
        assert closed(application, found)["outcome"] == "healed"
        assert run_of(application, found)["verdict"] == "effective"
