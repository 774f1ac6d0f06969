"""An alert that no rule covers, healed by a plan that came through the council; also when UICI dies while it asks."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.council.ground import council
from tests.doubles.model_server import Said
from tests.e2e.crashing import BOUNDARY
from tests.e2e.local_ground import local_ground, program
from tests.e2e.server import alert, payload, resolved
from tests.waiting import until
from uici.model.base import JsonObject

ENTRY = "from tests.e2e.crashing import main; main()"
LOOK = {"kind": "look", "operations": [{"operation": "check_logs", "target": "web", "parameters": {}}]}
ACT = {"kind": "act", "steps": [{"operation": "restart_service", "target": "web", "parameters": {}}]}


def says(body: JsonObject) -> Said:
    """Looks at the logs first, whoever asks again."""
    facts = json.loads(body["messages"][1]["content"])
    decision = ACT if facts["rules"]["looks_left"] < 8 else LOOK
    return Said(json.dumps({"reasoning": "it has ended, and its logs say why", "decision": decision}))


@pytest.mark.parametrize("boundary", ["consult:before", "consult:after"])
def test_killed_while_it_asks_uici_asks_again_and_heals_once(tmp_path: Path, boundary: str) -> None:
    stages = [{"name": "model", "backends": {"model": 1}}]
    price = {"model": {"price": {"input_per_million": 1, "output_per_million": 1}}}
    with council(tmp_path / "council", "model", stages=stages, backend=price, budget={"day": 5}) as served:
        model = served.servers["model"]
        model.says = says
        key = tmp_path / "key"
        key.write_text(served.key)
        settings = {"url": f"{served.url}/v1", "bearer_token": f"${{file:{key}}}", "verify": {"stable_for": 0.2}}
        with local_ground(
            tmp_path,
            {"web": program("web")},
            entry=ENTRY,
            platform={"council": settings},
            policies={"autonomy": "auto", "council_autonomy": "auto", "cooldown": {"seconds": 0}},
        ) as ground:
            uici = ground.uici
            ground.start("web")
            uici.stop()
            uici.start({BOUNDARY: boundary})
            ground.kill("web")
            before = ground.spawned("web")
            odd = alert("Odd", "web", fingerprint="0d" * 8)
            uici.send(payload(odd))
            assert uici.process.wait(60) == -signal.SIGKILL
            uici.start()
            (incident,) = until(lambda: uici.get("/incidents")["incidents"], "the incident")
            until(lambda: ground.process("web"), "the service to run", lambda: uici.explain(incident["run"]))
            uici.send(payload(resolved(odd)))
            run = uici.ended(incident["run"])
    assert run["outcome"] == "healed", uici.explain(run["id"])
    assert ground.spawned("web") == before + 1
    # A question that was under way is asked once more, no more than that.
    assert len(model.asked) in (2, 3)
    assert run["plan"]["origin"] == "council"
    # The price of the question, as the council tells it: twelve tokens at a dollar a million.
    assert run["plan"]["authored"]["cost_usd"] == pytest.approx(0.000012)
