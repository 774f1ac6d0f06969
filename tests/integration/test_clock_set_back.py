"""The clock is set back by an hour under a UICI at work: no rest and no question grows by that hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import POLICIES, alert, closed, run_of, running, send, site
from tests.waiting import until
from uici.bootstrap import Application
from uici.intake.writer import Accepted

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Ahead:
    """The time of this machine, an hour ahead until it is set back."""

    def __init__(self) -> None:
        self.ahead = timedelta(hours=1)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def expires(uici: Application, accepted: Accepted) -> datetime:
    (question,) = run_of(uici, accepted)["approvals"]
    return datetime.fromisoformat(question["expires_at"])


def test_a_question_keeps_the_time_that_is_left_of_it(tmp_path: Path) -> None:
    world, clock = World(), Ahead()
    world.service("web")
    policies = POLICIES.replace("autonomy: auto", "autonomy: approve") + "approval: {expires_seconds: 600}\n"
    with running(site(tmp_path / "site", "web", policies=policies), world, clock) as uici:
        accepted = send(uici, alert("web"))
        until(lambda: run_of(uici, accepted)["waiting_for"] == "approval", "the question")
        promised = expires(uici, accepted)
        clock.ahead = timedelta()
        until(lambda: expires(uici, accepted) != promised, "the question's new end")
        left = expires(uici, accepted) - clock.now()
        assert timedelta(seconds=300) < left <= timedelta(seconds=601)
        assert run_of(uici, accepted)["state"] != "ended"


def test_a_target_rests_from_now_and_no_hour_longer(tmp_path: Path) -> None:
    world, clock = World(), Ahead()
    world.service("web")
    policies = POLICIES.replace("cooldown: {seconds: 0}", "cooldown: {seconds: 2}")
    with running(site(tmp_path / "site", "web", policies=policies), world, clock) as uici:
        first = send(uici, alert("web", starts=BEGAN))
        send(uici, alert("web", status="resolved", starts=BEGAN))
        assert closed(uici, first)["outcome"] in ("healed", "self_resolved")
        clock.ahead = timedelta()
        world.service("web").state = "exited"
        second = send(uici, alert("web", starts=BEGAN + timedelta(hours=1)))
        until(lambda: run_of(uici, second)["acted_at"] is not None, "the second restart, within the test's patience")
