"""Runs on platforms that misbehave: unreachable, slow, hung, defective; and clocks that are set."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import (
    DEADLINE,
    LADDER,
    POLICIES,
    alert,
    closed,
    run_of,
    running,
    send,
    site,
    told,
)
from tests.integration.test_runs_interrupted import UNDONE
from tests.waiting import until
from uici.model.call import Call, CallError, FailureKind
from uici.model.errors import Problem
from uici.runs import engine, slots
from uici.runs.journal import forget_ended_parts
from uici.runs.stages import closing

QUICK = "runs: {retry_seconds: 0.05}"
WITHOUT_SILENCE = LADDER.replace("confirm_within: 60", "confirm_within: 0")


class SetClock:
    """The machine's clock, set by somebody."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def failing(world: World, moment: str, call: str, error: Exception, times: int = 1) -> None:
    left = [error] * times

    def hook(now: str, environment: str, sent: Call) -> None:
        if now == moment and sent.name == call and left:
            raise left.pop()

    world.hook = hook


def test_a_look_that_failed_is_made_again_before_anything_is_changed(tmp_path: Path, world: World) -> None:
    world.service("web").state = "running"
    world.service("web").healthy_when_running = False
    unreachable = CallError(FailureKind.TEMPORARY, "unreachable", "nobody answers")
    failing(world, "perform", "program.describe", unreachable, times=3)
    with running(site(tmp_path / "c", "web", strategies=UNDONE, platform=QUICK), world) as application:
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "escalated"
    assert world.changes("web") == ["program.scale", "program.scale", "program.restart"]
    assert world.service("web").replicas == 1, "undo knows the state before, although the first look at it failed"


def test_preconditions_are_asked_although_the_first_look_failed(tmp_path: Path, world: World) -> None:
    world.service("web").state = "missing"
    unreachable = CallError(FailureKind.TEMPORARY, "unreachable", "nobody answers")
    with running(site(tmp_path / "c", "web", platform=QUICK), world) as application:
        failing(world, "perform", "program.status", unreachable, times=3)
        steps = [{"operation": "restart_service", "target": "web"}]
        run = application.control.start({"plan": {"environment": "local", "steps": steps}}, "ann")
        until(lambda: application.control.run(run["id"])["state"] == "ended", "the run's end")
        assert "precondition" in application.control.run(run["id"])["reason"]
    assert world.changes("web") == []


def test_a_defect_of_an_executor_after_the_change_is_proved_and_not_repeated(tmp_path: Path, world: World) -> None:
    failing(world, "after", "program.restart", ValueError("a third party's mistake"))
    with running(site(tmp_path / "c", "web", strategies=WITHOUT_SILENCE), world) as application:
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "healed"
    assert world.changes("web") == ["program.restart"]


def test_a_missing_sdk_is_said_and_nothing_is_sent(tmp_path: Path, world: World) -> None:
    failing(world, "perform", "program.restart", ImportError("No module named 'vendor'"), times=9)
    with running(site(tmp_path / "c", "web"), world) as application:
        accepted = send(application, alert("web"))
        assert closed(application, accepted)["outcome"] == "escalated"
        assert "sdk_missing" in run_of(application, accepted)["calls"][0]["detail"]
    assert world.changes("web") == []


def test_a_change_that_failed_halfway_is_undone(tmp_path: Path, world: World) -> None:
    world.service("web").state = "running"
    world.service("web").healthy_when_running = False
    failing(world, "after", "program.scale", CallError(FailureKind.PERMANENT, "half", "it stopped halfway"))
    with running(site(tmp_path / "c", "web", strategies=UNDONE), world) as application:
        closed(application, send(application, alert("web")))
    assert world.changes("web")[:2] == ["program.scale", "program.scale"]
    assert world.service("web").replicas == 1


def test_an_environment_that_hangs_keeps_no_other_waiting(
    tmp_path: Path, world: World, released: threading.Event
) -> None:
    def hang(moment: str, environment: str, call: Call) -> None:
        if environment == "stuck":
            released.wait(DEADLINE)

    world.hook = hang
    names = [f"s{number}" for number in range(20)]
    config = site(
        tmp_path / "c",
        *names,
        environment="stuck",
        environments="environments:\n  stuck: {platform: local}\n",
        platform="runs: {threads: 6}",
        strategies=WITHOUT_SILENCE,
    )
    with (config / "targets.yml").open("a") as file:
        file.write("  web: {bindings: {local: {program: web, command: [/bin/true]}}}\n")
    with running(config, world) as application:
        send(application, *[alert(name) for name in names])
        until(lambda: application.engine.active() >= 3, "the runs that hang")
        assert closed(application, send(application, alert("web")))["outcome"] == "healed"
        released.set()


def test_no_more_runs_begin_at_once_than_the_hour_allows(tmp_path: Path, world: World) -> None:
    together = threading.Barrier(2)

    def meet(moment: str, environment: str, call: Call) -> None:
        if moment == "before":
            together.wait(DEADLINE)

    world.hook = meet
    names = [f"s{number}" for number in range(8)]
    policies = POLICIES.replace("max_per_hour: 10000", "max_per_hour: 2")
    with running(site(tmp_path / "c", *names, policies=policies, strategies=WITHOUT_SILENCE), world) as application:
        answers = [send(application, alert(name)) for name in names]
        outcomes = [closed(application, answer)["outcome"] for answer in answers]
    assert sorted(outcomes) == ["healed"] * 2 + ["refused"] * 6
    assert len(world.done) == 2


def test_a_clock_that_is_set_back_delays_nothing(tmp_path: Path, world: World) -> None:
    clock = SetClock()
    set_back = threading.Event()

    def hook(moment: str, environment: str, call: Call) -> None:
        if call.name == "program.restart" and moment == "after":
            clock.offset = timedelta(hours=-3)
            set_back.set()

    world.hook = hook
    with running(site(tmp_path / "c", "web", strategies=WITHOUT_SILENCE), world, clock) as application:
        incident = closed(application, send(application, alert("web")))
        assert set_back.is_set()
        assert incident["outcome"] == "healed"
        # The target rests after a run that ended later than now.
        clock.offset = timedelta(hours=-6)
        again = alert("web", starts=datetime(2026, 2, 2, tzinfo=UTC))
        assert closed(application, send(application, again))["outcome"] == "healed"


def test_a_remedy_that_worked_while_nobody_looked_is_effective(tmp_path: Path, world: World) -> None:
    clock = SetClock()
    acted = threading.Event()

    def hook(moment: str, environment: str, call: Call) -> None:
        if call.name == "program.restart" and moment == "after":
            acted.set()
        if call.name == "program.health" and acted.is_set():
            clock.offset = timedelta(hours=1)

    world.hook = hook
    with running(site(tmp_path / "c", "web", strategies=WITHOUT_SILENCE), world, clock) as application:
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "healed"


def test_looks_far_apart_come_to_a_verdict(tmp_path: Path, world: World) -> None:
    clock = SetClock()

    def hook(moment: str, environment: str, call: Call) -> None:
        if call.name == "program.health":
            clock.offset += timedelta(seconds=40)

    world.hook = hook
    world.service("ill").healthy_when_running = False
    config = site(tmp_path / "c", "well", "ill", strategies=WITHOUT_SILENCE.replace("within: 1,", "within: 30,"))
    with running(config, world, clock) as application:
        assert closed(application, send(application, alert("well")))["outcome"] == "healed"
        assert closed(application, send(application, alert("ill")))["outcome"] == "escalated"


def test_a_run_that_could_not_be_started_is_started_later(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = DBOS.start_workflow
    failures = [RuntimeError("the engine's journal cannot be written")]

    def once_failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return start(*arguments)

    monkeypatch.setattr(DBOS, "start_workflow", once_failing)
    with running(site(tmp_path / "c", "web", strategies=WITHOUT_SILENCE), world) as application:
        assert closed(application, send(application, alert("web")))["outcome"] == "healed"
        until(lambda: application.control.ready()["ok"], "the end of the trouble")
    assert failures == []


def test_many_incidents_at_once_are_each_healed_once(tmp_path: Path, world: World) -> None:
    names = [f"s{number}" for number in range(40)]
    policies = POLICIES.replace("max_concurrent: 100", "max_concurrent: 5")
    strategies = WITHOUT_SILENCE.replace("within: 1,", "within: 60,")
    with running(site(tmp_path / "c", *names, policies=policies, strategies=strategies), world) as application:
        answers = [send(application, alert(name)) for name in names]
        assert {closed(application, answer)["outcome"] for answer in answers} == {"healed"}
    assert sorted(world.done) == sorted(("program.restart", name) for name in names)


def test_a_run_that_cannot_be_closed_in_order_still_ends_and_frees_its_target(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*arguments: object) -> None:
        raise RuntimeError("a defect, injected")

    monkeypatch.setattr(closing, "_tell", defect)
    world.service("web").state = "running"
    platform = "runs: {max_recovery_attempts: 1}"
    with running(site(tmp_path / "c", "web", strategies=WITHOUT_SILENCE, platform=platform), world) as application:
        accepted = send(application, alert("web"))
        assert closed(application, accepted)["outcome"] == "healed"
        (message,) = told(application)
        assert "could not be closed in order" in message["title"]
        with application.store.read() as connection:
            here = {"place": "local", "aim": "web"}
            assert connection.execute(slots.SLOT, here).one().run_id is None


def test_a_ladder_that_tells_people_tells_them_once(tmp_path: Path, world: World) -> None:
    telling = """
strategies:
  down:
    match: ['alertname="Down"']
    remedies:
      - name: call_somebody
        steps: [{operation: escalate_to_human, parameters: {message: the disk has to be replaced}}]
"""
    world.service("web").state = "running"
    with running(site(tmp_path / "c", "web", strategies=telling), world) as application:
        assert closed(application, send(application, alert("web")))["outcome"] == "escalated"
        (message,) = told(application)
    assert message["why"] == "the disk has to be replaced"


def test_the_journal_of_ended_parts_is_forgotten_and_the_incident_stays(tmp_path: Path, world: World) -> None:
    world.service("web").state = "running"
    with running(site(tmp_path / "c", "web", strategies=WITHOUT_SILENCE), world) as application:
        accepted = send(application, alert("web"))
        assert closed(application, accepted)["outcome"] == "healed"

        def all_ended() -> bool:
            return not DBOS.list_workflows(status=["PENDING", "ENQUEUED"])

        until(all_ended, "the end of every part")
        kept = len(DBOS.list_workflows())
        assert kept > 0
        assert forget_ended_parts(3600) == 0
        assert forget_ended_parts(0) == kept
        assert DBOS.list_workflows() == []
        # The same delivery again still finds its incident, and starts nothing.
        assert send(application, alert("web")).incidents[0].id == accepted.incidents[0].id
        assert len(application.control.runs(None, 10, None)) == 1


class FailingClock(SetClock):
    """Has a defect that the intake meets."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False

    def now(self) -> datetime:
        if self.fails and threading.current_thread().name == "uici-intake":
            raise AttributeError("a defect")
        return super().now()


def test_a_defect_of_the_intake_refuses_what_met_it_and_takes_what_comes_next(tmp_path: Path) -> None:
    clock = FailingClock()
    with running(site(tmp_path / "c", "web", strategies=WITHOUT_SILENCE), World(), clock) as application:
        clock.fails = True
        with pytest.raises(Problem, match="could not be stored"):
            send(application, alert("web"))
        clock.fails = False
        assert send(application, alert("web")).new == 1
        assert application.control.ready()["ok"]
    assert not application.control.ready()["ok"]


def test_under_pressure_few_parts_begin_at_once_and_those_that_hang_keep_no_other_waiting(
    tmp_path: Path, world: World, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"p{number}" for number in range(10)]
    looks: list[bool] = []

    def pressed() -> bool:
        looks.append(True)
        return True

    def hang(moment: str, environment: str, call: Call) -> None:
        released.wait(DEADLINE)

    world.hook = hang
    monkeypatch.setattr(engine, "_YOUNG_SECONDS", 1e9)
    with running(site(tmp_path / "c", *names), world) as application:
        application.control.give_way(pressed)
        send(application, *map(alert, names))
        until(lambda: application.engine.active() == 2, "the first parts")
        looked = len(looks)
        until(lambda: len(looks) > looked + 2, "more looks at what is due")
        assert application.engine.active() == 2
        monkeypatch.setattr(engine, "_YOUNG_SECONDS", -1.0)  # from now on who is at work only waits
        until(lambda: application.engine.active() == len(names), "all parts, although none has ended")
        released.set()
