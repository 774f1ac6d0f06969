"""What UICI's /metrics says of asking a model, beside what the model was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.memory_executor import Service, World
from tests.doubles.model_server import ModelServer, Said, model_server
from tests.integration.council_rig import (
    AUTO,
    KEY,
    PROSE,
    RESTART,
    act,
    council,
    hand_over,
    in_turn,
    look,
    resolved,
)
from tests.integration.runs_rig import POLICIES, alert, closed, running, send, site, told
from tests.waiting import until


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


def figures(text: bytes) -> dict[str, float]:
    """What is shown of asking, but for zeros and what is below an edge."""
    shown = re.findall(r"^uici_council_(\w+(?:\{[^}]*\})?) (\S+)$", text.decode(), re.MULTILINE)
    return {name: float(value) for name, value in shown if float(value) and "_bucket" not in name}


def test_each_question_is_counted_by_what_came_back(tmp_path: Path, world: World, server: ModelServer) -> None:
    verb = {"name": "flush_queue", "summary": "Empty the queue", "how": "purge it"}
    server.says = in_turn(
        Said(status=503),
        look({"operation": "check_logs", "target": "web", "parameters": {}}),
        PROSE,
        hand_over("no verb does it", missing_verb=verb),
    )
    config = site(tmp_path / "site", "web", policies=AUTO, platform=council(server))
    with running(config, world) as uici:
        before = uici.control.metrics().decode()
        closed(uici, send(uici, alert("web", "Odd")))
        shown = figures(uici.control.metrics())
    seconds = shown.pop("question_seconds_sum")
    assert 0 < seconds < 60
    assert {name: value for name, value in shown.items() if "_created" not in name} == {
        'questions_total{answer="silent"}': 1,
        'questions_total{answer="look"}': 1,
        'questions_total{answer="unusable"}': 1,
        'questions_total{answer="hand_over"}': 1,
        "question_seconds_count": 4,
        'tokens_total{part="read"}': 3 * 7,
        'tokens_total{part="written"}': 3 * 5,
        "drafts_total": 1,
    }
    # What has not happened is zero and not absent: else its first time would be no increase.
    assert 'uici_council_questions_total{answer="unaskable"} 0.0' in before
    assert "uici_council_questions_waiting 0.0" in before


def test_a_plan_is_counted_by_what_became_of_it(tmp_path: Path, world: World, server: ModelServer) -> None:
    server.says = in_turn(act(RESTART))
    config = site(tmp_path / "site", "web", policies=POLICIES, platform=council(server))
    with running(config, world) as uici:
        accepted = send(uici, alert("web", "Odd"))
        (question,) = until(lambda: told(uici), "the question to people")
        assert figures(uici.control.metrics())['plans_total{fate="asked"}'] == 1
        uici.control.approve(question["run"], question["cid"], "ann", "")
        until(lambda: world.services["local", "web"].healthy, "the service to run")
        send(uici, resolved("web"))
        closed(uici, accepted)
        shown = figures(uici.control.metrics())
    assert {name: value for name, value in shown.items() if name.startswith("plans_total")} == {
        'plans_total{fate="asked"}': 1,
        'plans_total{fate="allowed"}': 1,
    }


@pytest.mark.parametrize(("level", "fate"), [("observe", "observed"), ("propose", "observed")])
def test_a_plan_that_is_only_shown_is_counted_so(
    tmp_path: Path, world: World, server: ModelServer, level: str, fate: str
) -> None:
    server.says = in_turn(act(RESTART))
    config = site(tmp_path / "site", "web", policies=f"{POLICIES}council_autonomy: {level}\n", platform=council(server))
    with running(config, world) as uici:
        closed(uici, send(uici, alert("web", "Odd")))
        shown = figures(uici.control.metrics())
    assert {name for name in shown if name.startswith("plans_total")} == {f'plans_total{{fate="{fate}"}}'}
    assert world.done == []
