"""What comes between the guards and a call, or between a verdict and the end: a freeze, a person, silence, an alert."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import (
    LADDER,
    POLICIES,
    alert,
    closed,
    ended,
    incident_of,
    run_of,
    running,
    send,
    site,
    told,
)
from tests.waiting import until
from uici.bootstrap import Application
from uici.model.alert import Alert, AlertOutcome
from uici.model.call import Call
from uici.model.verdict import Verdict
from uici.runs.data import RunData, Stage
from uici.runs.stages import STAGES
from uici.store.schema import runs

ASKING = POLICIES.replace("autonomy: auto", "autonomy: approve")
UNDONE = """
strategies:
  down:
    match: ['alertname="Down"']
    remedies:
      - name: scale
        steps: [{operation: scale_service, parameters: {replicas: 3}}]
        verify: {within: 0.2, stable_for: 0, confirm_within: 60, interval: 0.1}
      - name: restart
        steps: [restart_service]
        verify: {within: 1, stable_for: 0, confirm_within: 60, interval: 0.1}
"""


@pytest.fixture
def world() -> World:
    return World()


def once(world: World, moment: str, call: str, action: Callable[[], object]) -> None:
    """Do something at the first moment of this kind of a call."""
    pending = [action]

    def hook(now: str, environment: str, sent: Call) -> None:
        if now == moment and sent.name == call and pending:
            pending.pop()()

    world.hook = hook


def plan(*steps: Mapping[str, object], target: str = "web") -> dict[str, object]:
    return {"plan": {"environment": "local", "steps": [{"target": target, **step} for step in steps]}}


def waiting_run(application: Application, *alerts: Alert) -> RunData:
    """The state of an incident's run that waits for people."""
    accepted = send(application, *alerts)
    until(lambda: run_of(application, accepted)["waiting_for"] == "approval", "the question to people")
    with application.store.read() as connection:
        row = connection.execute(select(runs).where(runs.c.id == run_of(application, accepted)["id"])).one()
    return RunData.model_validate(row.data)


def test_freeze_after_the_guards_and_before_the_call(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web"), world) as application:
        once(world, "before", "program.restart", lambda: application.control.freeze(True, "ann", "maintenance"))
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "refused"
    assert "frozen by ann" in incident["reason"]
    assert world.changes("web") == []


def test_freeze_between_two_steps(tmp_path: Path, world: World) -> None:
    world.service("web").state = "running"
    with running(site(tmp_path / "c", "web"), world) as application:
        once(world, "after", "program.scale", lambda: application.control.freeze(True, "ann", "maintenance"))
        steps = {"operation": "scale_service", "parameters": {"replicas": 2}}, {"operation": "restart_service"}
        run = ended(application, application.control.start(plan(*steps), "ann")["id"])
        messages = told(application)
    assert run["outcome"] == "escalated"
    assert "what the run had changed stays as it is" in run["reason"]
    assert world.changes("web") == ["program.scale"]
    assert [message["kind"] for message in messages] == ["escalation"]


def test_freeze_stops_the_undo_too_and_people_hear_of_it(tmp_path: Path, world: World) -> None:
    world.service("web").healthy_when_running = False
    world.service("web").state = "running"
    with running(site(tmp_path / "c", "web", strategies=UNDONE), world) as application:
        once(world, "after", "program.scale", lambda: application.control.freeze(True, "ann", "maintenance"))
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "escalated"
    assert "frozen by ann" in incident["reason"]
    assert world.changes("web") == ["program.scale"]
    assert world.service("web").replicas == 3


def test_silence_after_the_guards_and_before_the_call(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web"), world) as application:
        once(world, "before", "program.restart", lambda: send(application, alert("web", status="resolved")))
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "self_resolved"
    assert world.changes("web") == []


def test_silence_before_the_next_rung(tmp_path: Path, world: World) -> None:
    world.service("web").healthy_when_running = False
    world.service("web").state = "running"
    with running(site(tmp_path / "c", "web", strategies=UNDONE), world) as application:
        once(world, "after", "program.scale", lambda: send(application, alert("web", status="resolved")))
        incident = closed(application, send(application, alert("web")))
        messages = told(application)
    assert incident["outcome"] == "self_resolved"
    assert "not proved to work" in incident["reason"]
    assert world.changes("web") == ["program.scale", "program.scale"], "the change is undone, and nothing else is tried"
    assert [message["kind"] for message in messages] == ["escalation"]


def test_cancel_while_a_plan_waits(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web"), world) as application:
        steps = {"operation": "wait", "parameters": {"seconds": 3000}}, {"operation": "restart_service"}
        run = application.control.start(plan(*steps), "ann")
        until(lambda: application.control.run(run["id"])["waiting_for"] == "wait", "the wait")
        application.control.cancel(run["id"], "ann", "not now")
        document = ended(application, run["id"])
    assert document["outcome"] == "refused"
    assert world.changes("web") == []


def test_an_alert_during_a_hand_written_plan_is_held_until_the_target_has_rested(tmp_path: Path, world: World) -> None:
    policies = POLICIES.replace("seconds: 0", "seconds: 1")
    strategies = LADDER.replace("confirm_within: 60", "confirm_within: 0")
    with running(site(tmp_path / "c", "web", strategies=strategies, policies=policies), world) as application:
        answers = []

        def alert_comes() -> None:
            answers.append(send(application, alert("web")))
            until(lambda: run_of(application, answers[0])["waiting_for"] == "slot", "the wait for the slot")

        once(world, "after", "program.restart", alert_comes)
        run = application.control.start(plan({"operation": "restart_service"}), "ann")
        ended(application, run["id"])
        incident = closed(application, answers[0])
    assert incident["outcome"] == "healed"
    assert world.changes("web") == ["program.restart", "program.restart"]


def test_an_alert_that_joins_while_its_incident_resolves_itself_is_looked_at(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", policies=ASKING), world) as application:
        data = waiting_run(application, alert("web"))
        # Its alerts were seen silent, and one came in since.
        after = STAGES[Stage.CLOSE](application.services, data.ending(AlertOutcome.SELF_RESOLVED, "silent"))
        assert after.stage is Stage.HOLD
        assert after.outcome is None
        assert application.control.incident(str(data.incident_id))["state"] == "open"


def test_an_alert_that_joins_a_healed_incident_is_looked_at_whatever_the_clock_said(
    tmp_path: Path, world: World
) -> None:
    with running(site(tmp_path / "c", "web", policies=ASKING), world) as application:
        data = waiting_run(application, alert("web"))
        later = datetime.now(UTC).replace(year=2100)
        healed = data.ending(
            AlertOutcome.HEALED, "healthy", verdict=Verdict.EFFECTIVE, verify_started_at=later, discounted=()
        )
        assert STAGES[Stage.CLOSE](application.services, healed).stage is Stage.VERIFY
        counted = healed.model_copy(update={"discounted": ("Down-web",)})
        assert STAGES[Stage.CLOSE](application.services, counted).stage is Stage.ENDED


def test_what_comes_after_a_merge_is_not_buried_with_the_provisional_incident(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", policies=ASKING), world) as application:
        real = waiting_run(application, alert("web"))
        world.found = ({"program": "web"},)
        by_labels = dataclasses.replace(alert("web", "Other"), labels={"alertname": "Down", "container_name": "x1"})
        provisional = send(application, by_labels)
        # The merge is one transaction with the end of the provisional incident: never open without alerts.
        until(lambda: incident_of(application, provisional)["superseded_by"], "the merge")
        merged = incident_of(application, provisional)
        assert merged["state"] == "closed"
        assert merged["outcome"] == "superseded"
        again = send(application, dataclasses.replace(by_labels, starts_at=datetime(2026, 2, 2, tzinfo=UTC)))
        assert again.incidents[0].id != provisional.incidents[0].id
        until(lambda: len(application.control.incident(str(real.incident_id))["alerts"]) == 3, "both alerts")
