"""What autonomy held back: on record with its whole preview, linked to the alert's end, and reported honestly."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import POLICIES, alert, closed, ended, running, send, site
from uici.bootstrap import Application
from uici.model.alert import Alert
from uici.model.base import JsonObject
from uici.model.errors import Problem

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STRATEGIES = """
strategies:
  down:
    match: ['alertname="Down"']
    remedies:
      - name: restart
        steps: [restart_service]
        verify: {within: 1, stable_for: 0.1, confirm_within: 0, interval: 0.1}
  config:
    match: ['alertname="Config"']
    remedies:
      - name: change
        steps: [{operation: set_configuration, parameters: {environment: {A: "b"}}}]
"""


class Ahead:
    """The time of this machine, and what the tests skipped of it."""

    def __init__(self) -> None:
        self.skipped = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.skipped

    def skip(self, **time: float) -> None:
        self.skipped += timedelta(**time)


@pytest.fixture
def clock() -> Ahead:
    return Ahead()


def policies(level: str, **more: str) -> str:
    return POLICIES.replace("autonomy: auto", f"autonomy: {level}") + "".join(f"{k}: {v}\n" for k, v in more.items())


def watching(tmp_path: Path, world: World, clock: Ahead, level: str, **more: str) -> Any:
    folder = site(tmp_path / "site", "web", "db", strategies=STRATEGIES, policies=policies(level, **more))
    return running(folder, world, clock)


def happened(uici: Application, clock: Ahead, number: int, *, lasted: float | None, name: str = "Down") -> JsonObject:
    """One incident of its own, and its end when it has one."""
    starts = BEGAN + timedelta(hours=number)
    firing = alert("web", name, starts=starts)
    incident = closed(uici, send(uici, firing))
    if lasted is not None:
        clock.skip(seconds=lasted)
        send(uici, over(firing, clock.now()))
    return incident


def over(firing: Alert, at: datetime) -> Alert:
    return dataclasses.replace(firing, status=type(firing.status)("resolved"), ends_at=at)


def the_target(report: JsonObject) -> Any:
    (target,) = report["targets"]
    return target


@pytest.fixture
def world() -> World:
    world = World()
    world.service("web")
    return world


def test_what_was_observed_is_kept_exactly_as_a_preview_shows_it(tmp_path: Path, world: World, clock: Ahead) -> None:
    with watching(tmp_path, world, clock, "observe") as uici:
        before = uici.control.preview(_payload(), None)["previews"][0]
        incident = happened(uici, clock, 0, lasted=None)
        assert incident["outcome"] == "observed"
        kept = uici.control.autonomy.observed(incident["run"])
    for member in ("environment", "target", "strategy", "remedy", "cid", "risk", "answer", "steps", "outcome", "notes"):
        assert kept[member] == before[member], member
    assert {item["guard"]: item["answer"] for item in kept["guards"]} == {
        item["guard"]: item["answer"] for item in before["guards"]
    }
    assert [item["guard"] for item in kept["guards"]] == [item["guard"] for item in before["guards"]]
    assert kept["outcome"] == "would be recorded, not run"
    assert kept["held_back"]["level"] == "observe"
    assert world.changes("web") == []


def test_the_report_says_what_would_have_been_done_and_how_it_ended_without_us(
    tmp_path: Path, world: World, clock: Ahead
) -> None:
    with watching(tmp_path, world, clock, "propose", risk="{auto_approve_up_to: medium}") as uici:
        for number, lasted in enumerate((60.0, 120.0, 600.0)):
            happened(uici, clock, number, lasted=lasted)
        happened(uici, clock, 3, lasted=None)
        target = the_target(uici.control.autonomy.report("7d", None, None))
    (remedy,) = target["remedies"]
    assert (target["incidents"], target["held_back"], target["autonomy"]) == (4, 4, "propose")
    assert remedy["would_have"] == {"acted": 4}
    assert remedy["ended"] == {"by itself": 3, "still firing": 1}
    assert 120 <= remedy["median_seconds_to_end"] < 600 <= remedy["longest_seconds_to_end"]
    assert target["summary"].startswith(
        "4 incidents held back: 4 would have been acted on by restart without a person."
    )
    assert "3 ended without UICI or a run of people's, 1 still firing" in target["summary"]
    assert "Whether the remedy would have helped is not known" in target["summary"]
    assert "would have healed" not in target["summary"]


def test_the_other_guards_words_are_on_record(tmp_path: Path, world: World, clock: Ahead) -> None:
    with watching(tmp_path, world, clock, "observe", risk="{auto_approve_up_to: low}") as uici:
        happened(uici, clock, 0, lasted=1, name="Config")
        uici.control.freeze(True, "ann", "storm")
        frozen = happened(uici, clock, 1, lasted=1)
        assert frozen["outcome"] == "observed"  # nothing was to be done here anyway: nobody is told of a refusal
        uici.control.freeze(False, "ann", "")
        target = the_target(uici.control.autonomy.report("7d", "web", "local"))
        shown = uici.control.autonomy.observed(frozen["run"])
    by_name = {remedy["remedy"]: remedy for remedy in target["remedies"]}
    assert by_name["change"]["would_have"] == {"asked": 1}
    assert by_name["change"]["objections"] == {"risk": 1}
    assert by_name["restart"]["would_have"] == {"denied": 1}
    assert set(by_name["restart"]["objections"]) == {"freeze", "risk"}
    assert shown["held_back"]["objections"] == ["freeze", "risk"]
    assert "1 would have asked for approval (risk " in target["summary"]
    assert "1 would have been denied (freeze" in target["summary"]


def test_people_who_acted_through_uici_are_told_from_an_alert_that_ended_by_itself(
    tmp_path: Path, world: World, clock: Ahead
) -> None:
    with watching(tmp_path, world, clock, "observe", risk="{auto_approve_up_to: high}") as uici:
        firing = alert("web", starts=BEGAN)
        closed(uici, send(uici, firing))
        plan = {"environment": "local", "steps": [{"operation": "restart_service", "target": "web"}]}
        ended(uici, uici.control.start({"plan": plan}, "ann")["id"])
        clock.skip(seconds=30)
        send(uici, over(firing, clock.now()))
        happened(uici, clock, 1, lasted=10)
        (remedy,) = the_target(uici.control.autonomy.report("7d", None, None))["remedies"]
    assert remedy["ended"] == {"after people acted": 1, "by itself": 1}


def test_at_auto_it_says_what_was_done(tmp_path: Path, world: World, clock: Ahead) -> None:
    with watching(tmp_path, world, clock, "auto") as uici:
        service = world.service("web")
        incident = happened(uici, clock, 0, lasted=None)
        assert incident["outcome"] == "healed"
        service.state, service.healthy_when_running = "exited", False
        happened(uici, clock, 1, lasted=None)
        target = the_target(uici.control.autonomy.report("7d", None, None))
    assert target["acted"] == {"runs": 2, "healed": 1, "ineffective": 1, "inconclusive": 0, "undone": 0}
    assert target["summary"] == "2 runs did act: 1 healed, 1 in vain."
    assert target["remedies"] == []


def test_what_it_cannot_show_it_says(tmp_path: Path, world: World, clock: Ahead) -> None:
    with watching(tmp_path, world, clock, "observe") as uici:
        happened(uici, clock, 0, lasted=1)
        assert uici.control.autonomy.report("7d", "db", None)["targets"] == []
        assert uici.control.autonomy.report("7d", None, "docker")["targets"] == []
        clock.skip(days=8)
        assert uici.control.autonomy.report("7d", None, None)["targets"] == []
        assert len(uici.control.autonomy.report("4w", None, None)["targets"]) == 1
        for wrong in ("", "7", "d", "0d", "-1h", "7 days", "1e3s", "9999999d"):
            with pytest.raises(Problem, match="is no duration"):
                uici.control.autonomy.report(wrong, None, None)
        with pytest.raises(Problem, match="held back"):
            uici.control.autonomy.observed("run_nothing")


def _payload() -> JsonObject:
    one = alert("web")
    return {
        "version": "4", "status": "firing", "receiver": "uici", "groupKey": "{}", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0,
        "alerts": [
            {"status": "firing", "labels": one.labels, "annotations": {}, "startsAt": one.starts_at.isoformat(),
             "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": one.fingerprint}
        ],
    }  # fmt: skip
