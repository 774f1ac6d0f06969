"""A platform that cannot be asked which target an alert is about, or what is wrong with it: patience, and its end."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import LADDER, alert, closed, incident_of, run_of, running, send, site, told
from tests.waiting import until
from uici.model.alert import Alert
from uici.model.call import Call, CallError, FailureKind

TARGETS = """
targeting:
  rules: [{name: by_platform, use: lookup, label: container_id}]
targets:
  web: {bindings: {local: {program: web, command: [/bin/true]}}}
"""
LOOKS_FIRST = LADDER.replace("steps:", "when: {all: [not_running]}\n        steps:")


class Ahead:
    """The time of this machine, and what the test skipped of it."""

    def __init__(self) -> None:
        self.skipped = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.skipped


def ground(tmp_path: Path, kind: FailureKind) -> tuple[Path, World]:
    world = World()
    world.service("web")
    world.found = ({"program": "web"},)
    world.unfindable = CallError(kind, "unreachable", "the platform does not answer")
    folder = site(tmp_path / "site", "web", platform="runs: {retry_seconds: 0.05, lookup_seconds: 60}")
    (folder / "targets.yml").write_text(TARGETS)
    return folder, world


def nameless() -> Alert:
    firing = alert("?")
    return dataclasses.replace(firing, labels={"alertname": "Down", "container_id": "abc"})


@pytest.mark.parametrize("kind", [FailureKind.TEMPORARY, FailureKind.UNKNOWN])
def test_it_is_asked_again_until_it_answers(tmp_path: Path, kind: FailureKind) -> None:
    folder, world = ground(tmp_path, kind)
    with running(folder, world) as uici:
        accepted = send(uici, nameless())
        until(lambda: run_of(uici, accepted)["waiting_for"] == "platform", "the wait")
        seen = [event["type"] for event in incident_of(uici, accepted)["timeline"]]
        assert seen.count("platform_unreachable") == 1
        world.unfindable = None
        until(lambda: incident_of(uici, accepted)["target"] == "web", "the target")


def test_its_patience_is_bounded_and_then_people_are_told(tmp_path: Path) -> None:
    folder, world = ground(tmp_path, FailureKind.TEMPORARY)
    clock = Ahead()
    with running(folder, world, clock) as uici:
        accepted = send(uici, nameless())
        until(lambda: run_of(uici, accepted)["waiting_for"] == "platform", "the wait")
        clock.skipped = timedelta(seconds=61)
        uici.engine.wake()
        incident = closed(uici, accepted)
    assert incident["outcome"] == "escalated"
    assert "could not be asked" in incident["reason"]
    assert "the platform does not answer" in incident["reason"]


def test_a_clock_that_is_set_back_does_not_lengthen_it_and_an_alert_that_ends_ends_it(tmp_path: Path) -> None:
    folder, world = ground(tmp_path, FailureKind.TEMPORARY)
    clock = Ahead()
    with running(folder, world, clock) as uici:
        accepted = send(uici, nameless())
        until(lambda: run_of(uici, accepted)["waiting_for"] == "platform", "the wait")
        clock.skipped = timedelta(hours=-1)
        # By the clock that was set back the next look is due within seconds, not in an hour.
        until(lambda: (run_of(uici, accepted)["due_at"] or "9") < datetime.now(UTC).isoformat(), "another look")
        over = dataclasses.replace(nameless(), status=type(nameless().status)("resolved"))
        send(uici, over)
        assert closed(uici, accepted)["outcome"] == "self_resolved"


def test_what_will_never_answer_is_told_at_once(tmp_path: Path) -> None:
    folder, world = ground(tmp_path, FailureKind.PERMANENT)
    with running(folder, world) as uici:
        assert closed(uici, send(uici, nameless()))["outcome"] == "escalated"


def blinded(world: World, error: Exception) -> None:
    """From now on every look at the platform fails."""

    def hook(moment: str, environment: str, call: Call) -> None:
        raise error

    world.hook = hook


def seen(tmp_path: Path, strategies: str = LOOKS_FIRST) -> tuple[Path, World]:
    world = World()
    world.service("web")
    folder = tmp_path / "site"
    return site(folder, "web", strategies=strategies, platform="runs: {retry_seconds: 0.05, lookup_seconds: 60}"), world


def test_what_is_wrong_is_looked_at_again_until_the_platform_answers(tmp_path: Path) -> None:
    folder, world = seen(tmp_path)
    blinded(world, CallError(FailureKind.TEMPORARY, "unreachable", "the platform does not answer"))
    with running(folder, world) as uici:
        accepted = send(uici, alert("web"))
        until(lambda: run_of(uici, accepted)["waiting_for"] == "platform", "the wait")
        world.hook = World().hook
        until(lambda: world.changes("web") == ["program.restart"], "the remedy")
        events = [event["type"] for event in incident_of(uici, accepted)["timeline"]]
    assert events.count("platform_unreachable") == 1
    assert events.count("diagnosed") == 1


# A remedy that needs no findings is tried all the same; it cannot look before it acts.
@pytest.mark.parametrize("strategies", [LOOKS_FIRST, LADDER])
def test_people_are_told_that_nothing_could_be_seen_and_not_that_nothing_was_found(
    tmp_path: Path, strategies: str
) -> None:
    folder, world = seen(tmp_path, strategies)
    clock = Ahead()
    blinded(world, CallError(FailureKind.TEMPORARY, "unreachable", "the platform does not answer"))
    with running(folder, world, clock) as uici:
        accepted = send(uici, alert("web"))
        until(lambda: run_of(uici, accepted)["waiting_for"] == "platform", "the wait")
        clock.skipped = timedelta(seconds=61)
        uici.engine.wake()
        incident = closed(uici, accepted)
        (message,) = told(uici)
        preview = uici.control.preview({"incident": incident["id"]}, None)["previews"][0]
    assert (incident["outcome"], incident["reason"]) == (
        "escalated",
        "platform_unreachable: nothing could be seen of web, local could not be asked: the platform does not answer. "
        "Look with `uici doctor -e local`",
    )
    assert message["why"] == incident["reason"]
    assert strategies == LADDER or incident["reason"] in preview["notes"]
    assert world.changes("web") == []


def test_a_look_that_is_refused_is_told_at_once_and_as_a_refusal(tmp_path: Path) -> None:
    folder, world = seen(tmp_path)
    blinded(world, CallError(FailureKind.PERMANENT, "forbidden", "this account may not look"))
    with running(folder, world) as uici:
        incident = closed(uici, send(uici, alert("web")))
    assert incident["reason"].startswith("look_failed: nothing could be seen of web, local could not be asked")


def test_a_remedy_whose_effect_nobody_could_see_is_not_told_to_look_healthy(tmp_path: Path) -> None:
    folder, world = seen(tmp_path)

    def hook(moment: str, environment: str, call: Call) -> None:
        if call.name == "program.health" and world.changes("web"):
            raise CallError(FailureKind.TEMPORARY, "unreachable", "the platform does not answer")

    world.hook = hook
    with running(folder, world) as uici:
        accepted = send(uici, alert("web"))
        incident = closed(uici, accepted)
        run = run_of(uici, accepted)
    assert (run["verdict"], world.changes("web")) == ("inconclusive", ["program.restart"])
    assert incident["reason"] == (
        "platform_unreachable: restart was carried out, but whether it helped is not seen, local could not be asked: "
        "the platform does not answer. Look with `uici doctor -e local`"
    )


def test_one_look_that_succeeds_is_enough_to_go_on(tmp_path: Path) -> None:
    folder, world = seen(tmp_path)

    def hook(moment: str, environment: str, call: Call) -> None:
        if call.name != "program.status":
            raise CallError(FailureKind.TEMPORARY, "busy", "not now")

    world.hook = hook
    with running(folder, world) as uici:
        incident = closed(uici, send(uici, alert("web")))
    assert not incident["reason"].startswith("platform_unreachable")
