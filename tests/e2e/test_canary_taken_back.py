"""A canary that answers wrongly: the council judges, UICI takes it back, once, and says why. Both as they are run."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.council.ground import council
from tests.doubles.model_server import Said
from tests.e2e.local_ground import ENVIRONMENT, local_ground, program
from tests.real.components import free_port
from tests.waiting import until
from uici.access.roles import Role

KEY = "council-key-of-this-test"


@pytest.fixture
def key(tmp_path: Path) -> str:
    file = tmp_path / "council-key"
    file.write_text(KEY)
    return f"${{file:{file}}}"


def test_a_failed_canary_is_taken_back_once_by_uici_which_says_why(tmp_path: Path, key: str) -> None:
    port = free_port()
    traffic = {"url": f"http://127.0.0.1:{port}", "bearer_token": key}
    environments = {ENVIRONMENT: {"platform": "local", "traffic": traffic}}
    targets = {"council-canary": program("council-canary")}
    with local_ground(
        tmp_path,
        targets,
        environments={"environments": environments},
        policies={"autonomy": "auto", "cooldown": {"seconds": 0}},
    ) as ground:
        ground.start("council-canary")
        webhook = tmp_path / "webhook-token"
        webhook.write_text(ground.uici.tokens[Role.ALERTMANAGER])
        tell = {
            "url": f"{ground.uici.url}/webhooks/alertmanager",
            "key": f"${{file:{webhook}}}",
            "again_seconds": 0.2,
        }
        canary = {
            "main": "old",
            "backend": "new",
            "gates": {"least_requests": 20, "found_drop": 0.5, "most_drop": 0.1},
            "tell": tell,
        }
        stages = [{"name": "local", "backends": {"old": 1}}]
        callers = {"uici": {"key": key, "administers": True}}
        with council(
            tmp_path / "council", "old", "new", stages=stages, canary=canary, callers=callers, port=port
        ) as served:
            http = httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
            with http:
                http.put("/canary", json={"weight": 0.05, "because": "it is new"}).raise_for_status()
                served.servers["old"].says = lambda body: Said("right")
                served.servers["new"].says = lambda body: Said("wrong")

                def explain() -> str:
                    return f"{http.get('/canary').text}\n{ground.uici.get('/incidents')}\n{ground.uici.tail()}"

                questions = [{"question": f"{number}?", "answer": "right"} for number in range(60)]
                http.post("/canary/replay", json={"questions": questions}).raise_for_status()
                until(lambda: http.get("/canary").json()["weight"] == 0, "UICI to take it back", explain)
                shown = http.get("/canary").json()
                weights = [(each["weight"], each["set_by"]) for each in shown["history"]]
                assert weights == [(0.0, "uici"), (0.05, "uici")], "it was set to 0 once"
                assert shown["history"][0]["because"].startswith("its gates failed [uici:")
                (incident,) = ground.uici.get("/incidents")["incidents"]
                run = ground.uici.ended(incident["run"])
                assert run["outcome"] == "healed", ground.uici.explain(run["id"])
                assert [call["call"] for call in run["calls"]] == ["traffic.set"]
