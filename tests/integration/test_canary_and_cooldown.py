"""The council rests after a run; its canary, a target of its own, is taken back all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.council.ground import council
from tests.doubles.memory_executor import World
from tests.doubles.model_server import Said
from tests.integration.runs_rig import LADDER, POLICIES, alert, closed, run_of, running, send, site
from tests.waiting import until

KEY = "council-key-of-this-test"
RESTING = POLICIES.replace("cooldown: {seconds: 0}", "cooldown: {seconds: 900}")
CANARY = {"main": "old", "backend": "new", "gates": {"least_requests": 20, "found_drop": 0.5, "most_drop": 0.1}}


def test_a_canary_is_taken_back_while_its_council_rests(tmp_path: Path) -> None:
    assert RESTING != POLICIES
    key = tmp_path / "key"
    key.write_text(KEY)
    stages = [{"name": "local", "backends": {"old": 1}}]
    callers = {"uici": {"key": f"${{file:{key}}}", "administers": True}}
    world = World()
    with council(tmp_path / "council", "old", "new", stages=stages, canary=CANARY, callers=callers) as served:
        traffic = f"{{url: '{served.url}', bearer_token: '${{file:{key}}}'}}"
        config = site(
            tmp_path / "site",
            "council-api",
            "council-canary",
            strategies=LADDER,
            policies=RESTING,
            environments=f"environments: {{local: {{platform: local, traffic: {traffic}}}}}",
        )
        world.service("council-canary").state = "running"
        http = served.http()
        http.headers["authorization"] = f"Bearer {KEY}"
        http.put("/canary", json={"weight": 0.05, "because": "it is new"}).raise_for_status()
        served.servers["old"].says = lambda body: Said("right")
        served.servers["new"].says = lambda body: Said("wrong")
        questions = [{"question": f"{number}?", "answer": "right"} for number in range(60)]
        http.post("/canary/replay", json={"questions": questions}).raise_for_status()
        assert http.get("/canary").json()["verdict"] == "FAIL"

        with running(config, world) as application:
            down = send(application, alert("council-api"))
            until(lambda: world.done == [("program.restart", "council-api")], "the council's restart")
            send(application, alert("council-api", status="resolved"))
            assert closed(application, down)["outcome"] == "healed"
            again = send(application, alert("council-api", starts=datetime(2026, 1, 2, tzinfo=UTC)))

            failed = send(application, alert("council-canary", "CouncilCanaryFailed"))
            until(lambda: http.get("/canary").json()["weight"] == 0, "the canary to be taken back")
            send(application, alert("council-canary", "CouncilCanaryFailed", status="resolved"))
            assert closed(application, failed)["outcome"] == "healed"
            assert [call["call"] for call in run_of(application, failed)["calls"]] == ["traffic.set"]
            # Meanwhile the council itself still rests.
            assert run_of(application, again)["state"] != "ended"
            assert world.done == [("program.restart", "council-api")]
