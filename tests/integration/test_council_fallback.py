"""Fallback strategies: the rules for when a model gave no plan. They come after all else, and are judged like all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.memory_executor import Service, World
from tests.doubles.model_server import ModelServer, Said, model_server
from tests.integration.council_rig import (
    AUTO,
    ESCALATED,
    KEY,
    PAYLOAD,
    PROSE,
    RESTART,
    act,
    council,
    events,
    hand_over,
    in_turn,
    resolved,
)
from tests.integration.runs_rig import LADDER, POLICIES, alert, closed, running, send, site, told
from tests.waiting import until
from uici.intake.writer import Accepted
from uici.model.base import JsonObject
from uici.model.call import Call

QUICK = "verify: {within: 0.5, stable_for: 0.1, confirm_within: 60, interval: 0.1}"
# Written before the others, and wider than they are: it comes last all the same.
FALLBACKS = f"""
strategies:
  last_resort:
    match: ['alertname=~".+"']
    fallback: true
    diagnose: [get_service_status]
    remedies:
      - {{name: lift, requires: ["${{labels.alertname}}"], steps: [restart_service], {QUICK}}}
      - {{name: lift_again, steps: [start_service], {QUICK}}}
  later_resort:
    match: ['alertname="Odd"']
    fallback: true
    remedies: [{{name: halt, steps: [stop_service]}}]
{LADDER.removeprefix(chr(10)).removeprefix("strategies:" + chr(10))}"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    monkeypatch.setenv("COUNCIL_KEY", KEY)
    with model_server() as running_server:
        yield running_server


@pytest.fixture
def world() -> World:
    world = World()
    world.services["local", "web"] = Service()
    return world


def place(
    folder: Path, server: ModelServer, policies: str = AUTO, programs: tuple[str, ...] = ("web",), **settings: Any
) -> Path:
    platform = council(server, **settings)
    return site(folder / "site", *programs, strategies=FALLBACKS, policies=policies, platform=platform)


def lost(folder: Path, world: World, server: ModelServer, name: str = "Odd", **settings: Any) -> JsonObject:
    """What became of an alert about a service that nothing helps."""
    world.services["local", "web"].healthy_when_running = False
    with running(place(folder, server, **settings), world) as uici:
        return closed(uici, send(uici, alert("web", name)))


NO_PLAN: dict[str, tuple[Said, str, dict[str, Any]]] = {
    "no plan, twice": (PROSE, "answered twice what is no plan: ", {}),
    "too late": (replace(act(RESTART), delay=30.0), "gave no plan within 1 s", {"timeout": 0.3, "deadline_seconds": 1}),
    "not to be asked": (Said(status=401), "cannot be asked: ", {}),
}


@pytest.mark.parametrize("kind", NO_PLAN)
def test_without_a_plan_in_time_the_first_fallback_heals(
    tmp_path: Path, world: World, server: ModelServer, kind: str
) -> None:
    said, why, settings = NO_PLAN[kind]
    server.says = in_turn(said)
    with running(place(tmp_path, server, **settings), world) as uici:
        accepted = send(uici, alert("web", "Odd"))
        until(lambda: world.services["local", "web"].healthy, "the service to run")
        send(uici, resolved("web"))
        incident = closed(uici, accepted)
        plan = uici.control.run(incident["run"])["plan"]
        shown = uici.control.metrics().decode()
    assert (incident["outcome"], incident["strategy"]) == ("healed", "last_resort")
    assert (plan["origin"], plan["strategy"], plan["remedy"]) == ("rule", "last_resort", "lift")
    (taken,) = events(incident, "fallback_taken")
    assert taken["strategy"] == "last_resort"
    begin = "no_strategy: no rule of strategies.yml covers Odd; the council "
    assert taken["because"].startswith(begin + why)
    assert "uici_council_fallbacks_total 1.0" in shown


def test_the_guards_judge_a_fallback_as_every_rule(tmp_path: Path, world: World, server: ModelServer) -> None:
    server.says = in_turn(PROSE)
    policies = POLICIES.replace("autonomy: auto", "autonomy: approve")
    with running(place(tmp_path, server, policies), world) as uici:
        send(uici, alert("web", "Odd"))
        (question,) = until(lambda: told(uici), "the question to people")
        assert (question["kind"], question["plan"]) == ("approval", [RESTART])
    assert world.done == []


def test_a_fallback_that_does_not_help_goes_to_people_and_asks_nobody_again(
    tmp_path: Path, world: World, server: ModelServer
) -> None:
    server.says = in_turn(PROSE)
    incident = lost(tmp_path, world, server, after_ladder=True)
    assert incident["outcome"] == ESCALATED
    assert incident["reason"].startswith("no_remedy_left: lift: it was tried already; lift_again: ")
    assert [item["remedy"] for item in events(incident, "planned")] == ["lift", "lift_again"]
    assert len(server.asked) == 2


def test_what_the_model_leaves_to_people_is_left_to_people(tmp_path: Path, world: World, server: ModelServer) -> None:
    server.says = in_turn(hand_over("the data is gone"))
    incident = lost(tmp_path, world, server)
    assert incident["reason"].endswith("; the council leaves it to people: the data is gone")
    assert (world.done, events(incident, "fallback_taken")) == ([], [])


def test_where_a_plan_of_the_model_was_tried_no_fallback_is_taken(
    tmp_path: Path, world: World, server: ModelServer
) -> None:
    server.says = in_turn(act(RESTART), PROSE)
    quick = {"within": 0.5, "stable_for": 0.1, "interval": 0.1}
    incident = lost(tmp_path, world, server, verify=quick)
    assert "; the council answered twice what is no plan: " in incident["reason"]
    assert [item["remedy"] for item in events(incident, "planned")] == ["council-1"]


def test_where_the_model_had_a_plan_that_was_made_to_wait_no_fallback_is_taken(
    tmp_path: Path, world: World, server: ModelServer
) -> None:
    world.services["local", "db"] = Service(state="running")
    at_once = "dependencies: {correlation_seconds: 0, wait_seconds: 60, recover_seconds: 0}\n"
    config = place(tmp_path, server, AUTO + at_once, programs=("web", "db"))
    targets = config / "targets.yml"
    targets.write_text(targets.read_text().replace("  web: {", "  web: {depends_on: [db], "))
    broken: list[Accepted] = []
    with running(config, world) as uici:

        def breaks_what_it_needs(body: JsonObject) -> Said:
            if len(server.asked) > 1:
                return PROSE
            world.services["local", "db"].state = "exited"
            broken.append(send(uici, alert("db")))
            return act(RESTART)

        server.says = breaks_what_it_needs
        accepted = send(uici, alert("web", "Odd"))
        until(lambda: broken and world.services["local", "db"].healthy, "what it needs to run again")
        send(uici, alert("db", status="resolved"))
        incident = closed(uici, accepted)
    assert "; the council answered twice what is no plan: " in incident["reason"]
    assert [item["remedy"] for item in events(incident, "planned")] == ["council-1"]
    assert events(incident, "fallback_taken") == []


def test_a_fallback_makes_way_for_a_rule_whose_alert_joins(tmp_path: Path, world: World, server: ModelServer) -> None:
    server.says = in_turn(PROSE)
    world.services["local", "web"].healthy_when_running = False
    with running(place(tmp_path, server), world) as uici:
        joined: list[Accepted] = []

        def joins(moment: str, environment: str, call: Call) -> None:
            if moment == "after" and call.mutates and not joined:
                joined.append(send(uici, alert("web", "Down")))

        world.hook = joins
        incident = closed(uici, send(uici, alert("web", "Odd")))
    assert [item["remedy"] for item in events(incident, "planned")] == ["lift", "restart"]


def test_what_another_strategy_covers_no_fallback_is_taken_for(
    tmp_path: Path, world: World, server: ModelServer
) -> None:
    """Neither first nor, with a council that is asked and gives no plan, after its ladder."""
    server.says = in_turn(PROSE)
    incident = lost(tmp_path, world, server, "Down", after_ladder=True)
    assert incident["strategy"] == "down"
    assert [item["remedy"] for item in events(incident, "planned")] == ["restart"]
    assert (len(server.asked), events(incident, "fallback_taken")) == (2, [])


def test_a_preview_tells_of_the_fallback(tmp_path: Path, world: World, server: ModelServer) -> None:
    with running(place(tmp_path, server), world) as uici:
        (shown,) = uici.control.preview(PAYLOAD, None)["previews"]
    assert shown["outcome"] == "would ask the council"
    assert shown["notes"][-1] == (
        "without a plan in time it would go on by the fallback strategy last_resort: lift, then lift_again"
    )
