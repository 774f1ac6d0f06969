"""Plans of a real model that was never trained: whatever it says, each is permitted, refused, or left to people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.doubles.memory_executor import Service, World
from tests.integration.runs_rig import POLICIES, alert, incident_of, running, send, site
from tests.real.vllm import Vllm
from tests.waiting import until
from uici.model.base import JsonObject

pytestmark = [pytest.mark.component("vllm"), pytest.mark.vllm, pytest.mark.timeout(600)]
OFFERED = ["check_logs", "restart_service", "start_service", "stop_service"]
TARGETS = [f"s{number}" for number in range(6)]


def test_whatever_it_says_only_what_is_permitted_is_done(vllm_server: Vllm, tmp_path: Path) -> None:
    world = World()
    for name in TARGETS:
        world.services["local", name] = Service()
    # Hot, so that it does not say the same each time.
    settings: JsonObject = {
        "url": vllm_server.url,
        "model": vllm_server.model,
        "temperature": 1.5,
        "operations": OFFERED,
        "looks": 1,
        "plans": 1,
        "answer_tokens": 3000,
        "timeout": 300,
        "deadline_seconds": 500,
        "prompt_bytes": 20_000,
        "result_bytes": 512,
        "verify": {"within": 0.5, "stable_for": 0.1, "interval": 0.1, "confirm_within": 0.5},
    }
    policies = POLICIES + "council_autonomy: auto\nrisk: {auto_approve_up_to: high}\n"
    config = site(tmp_path / "site", *TARGETS, policies=policies, platform=f"council: {json.dumps(settings)}\n")
    with running(config, world) as uici:
        accepted = {name: send(uici, alert(name, "Odd")) for name in TARGETS}

        def ended() -> bool:
            return all(incident_of(uici, item)["state"] == "closed" for item in accepted.values())

        until(ended, "the end of all incidents", lambda: str(uici.control.runs(None, 50, None)), seconds=400)
        incidents = {name: incident_of(uici, item) for name, item in accepted.items()}
    answers = [
        event["data"]
        for incident in incidents.values()
        for event in incident["timeline"]
        if event["type"] == "council_answered"
    ]
    # The server keeps to the schema: what could not be used was cut off, or broke a rule that no schema can say.
    assert len(answers) >= len(TARGETS)
    assert {answer["decision"] for answer in answers} <= {"look", "act", "hand_over", "unusable"}
    assert any(answer["decision"] != "unusable" for answer in answers)
    planned = {
        name: event["data"]["steps"]
        for name, incident in incidents.items()
        for event in incident["timeline"]
        if event["type"] == "planned"
    }
    assert all(set(steps) <= set(OFFERED) for steps in planned.values())
    # Nothing was done to a service for which there was no plan.
    assert {program for _, program in world.done} <= set(planned)
