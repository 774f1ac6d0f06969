"""A canary beside a main model, over HTTP: its share, its verdict, and who takes it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said, serving
from tests.waiting import until

GATES = {"least_requests": 20, "found_drop": 0.5, "most_drop": 0.1}


@contextmanager
def with_canary(folder: Path, **more: Any) -> Iterator[Ground]:
    stages = [{"name": "local", "backends": {"old": 1}, "backoff_seconds": 0.01}]
    given = {"main": "old", "backend": "new", "gates": GATES, "look_seconds": 0.1, **more}
    with council(folder, "old", "new", stages=stages, canary=given) as ground:
        for name, server in ground.servers.items():
            server.says = lambda body, name=name: Said(name)  # type: ignore[misc] # the name is bound now
        yield ground


def set_weight(ground: Ground, weight: float) -> dict[str, Any]:
    answer = ground.http().put("/canary", json={"weight": weight, "because": "a test"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def asked(ground: Ground, session: str | None = None) -> str:
    headers = {"x-session-id": session} if session else {}
    client = ground.client(default_headers=headers)
    return str(client.chat.completions.create(model="council", messages=MESSAGES).choices[0].message.content)


def test_without_a_weight_nothing_goes_to_the_canary_and_with_one_its_share_does(tmp_path: Path) -> None:
    with with_canary(tmp_path) as ground:
        assert {asked(ground) for _ in range(5)} == {"old"}
        assert set_weight(ground, 0.25) == {"weight": 0.25, "setting": 1, "changed": True}
        assert [asked(ground) for _ in range(40)].count("new") == 10
        sides = {session: {asked(ground, session) for _ in range(3)} for session in "abcdefgh"}
        assert all(len(each) == 1 for each in sides.values()), "a session stays where it is"
        assert abs(ground.http().get("/canary").json()["measured_share"] - 0.25) < 0.05
        set_weight(ground, 0)
        assert {asked(ground, session) for session in sides} == {"old"}


def test_a_weight_is_set_once_and_says_who_and_why_also_after_a_restart(tmp_path: Path) -> None:
    with with_canary(tmp_path) as ground:
        assert set_weight(ground, 0.05)["changed"] is True
        assert set_weight(ground, 0.05)["changed"] is False
    with with_canary(tmp_path) as again:
        shown = again.http().get("/canary").json()
        assert shown["weight"] == 0.05
        assert [(each["weight"], each["set_by"], each["because"]) for each in shown["history"]] == [
            (0.05, "local", "a test")
        ]
        assert shown["verdict"] == "INCONCLUSIVE", "no data is never healthy"


def test_it_is_promoted_step_by_step_and_only_when_it_passes(tmp_path: Path) -> None:
    with with_canary(tmp_path) as ground:
        http = ground.http()
        first = http.post("/canary/promote", json={"because": "it begins"})
        assert first.json()["weight"] == 0.05
        early = http.post("/canary/promote", json={"because": "too early"})
        assert (early.status_code, early.json()["error"]["code"]) == (409, "not_passed")
        set_weight(ground, 0.5)
        for _ in range(40):
            asked(ground)
        questions = [{"question": f"{number}?", "answer": "old"} for number in range(60)]
        ground.servers["new"].says = lambda body: Said("Old.")
        assert http.post("/canary/replay", json={"questions": questions}).json() == {"replayed": 60, "failed": 0}
        assert http.get("/canary").json()["verdict"] == "PASS"
        assert http.post("/canary/promote", json={"because": "it passes"}).json()["weight"] == 1.0
        assert asked(ground) == "Old."
        last = http.post("/canary/promote", json={"because": "once more"})
        assert last.json()["error"]["code"] == "nothing_higher"


def test_a_canary_that_answers_wrongly_or_fails_is_judged_so(tmp_path: Path) -> None:
    with with_canary(tmp_path) as ground:
        set_weight(ground, 0.5)
        ground.servers["new"].says = lambda body: Said(status=500)
        assert {asked(ground) for _ in range(60)} == {"old"}, "main answers where the canary fails"
        gates = {gate["gate"]: gate for gate in ground.http().get("/canary").json()["gates"]}
        assert gates["error_rate"]["verdict"] in ("FAIL", "INCONCLUSIVE")
        ground.servers["new"].says = lambda body: Said("wrong")
        until(lambda: "wrong" in {asked(ground) for _ in range(4)}, "the canary to be tried again", seconds=60)
        questions = [{"question": f"{number}?", "answer": "old"} for number in range(60)]
        ground.http().post("/canary/replay", json={"questions": questions})
        shown = ground.http().get("/canary").json()
        assert shown["verdict"] == "FAIL"
        accuracy = next(gate for gate in shown["gates"] if gate["gate"] == "accuracy")
        assert (accuracy["verdict"], accuracy["value"]) == ("FAIL", 1.0)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/canary", {"weight": 1.5, "because": "x"}, 400),
        ("PUT", "/canary", {"weight": True, "because": "x"}, 400),
        ("PUT", "/canary", {"weight": 0.5}, 400),
        ("POST", "/canary/replay", {"questions": []}, 400),
        ("POST", "/canary/replay", {"questions": [{"question": "?"}]}, 400),
        ("POST", "/canary/promote", {}, 400),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, method: str, path: str, body: dict[str, Any], status: int) -> None:
    with with_canary(tmp_path) as ground:
        assert ground.http().request(method, path, json=body).status_code == status
        assert ground.http().get("/canary").json()["weight"] == 0.0


def test_only_who_administers_changes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNCIL_TEST_KEY", "a-key-of-some-length")
    callers = {"reader": {"key": "${env:COUNCIL_TEST_KEY}"}}
    given = {"main": "old", "backend": "new"}
    with council(tmp_path, "old", "new", canary=given, callers=callers) as ground:
        client = ground.client(api_key="a-key-of-some-length")
        client.get("/../canary", cast_to=object)
        with pytest.raises(openai.PermissionDeniedError):
            client.put("/../canary", cast_to=object, body={"weight": 0.5, "because": "x"})


def test_a_verdict_is_told_until_the_weight_is_zero_and_then_resolved(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    async def taken(request: Request) -> Response:
        told.append(await request.json())
        return Response(status_code=503 if len(told) == 1 else 202)

    webhook = Starlette(routes=[Route("/webhooks/alertmanager", taken, methods=["POST"])])
    with serving(webhook) as port:
        tell = {
            "url": f"http://127.0.0.1:{port}/webhooks/alertmanager",
            "again_seconds": 0.1,
            "labels": {"service": "council-canary"},
        }
        with with_canary(tmp_path, tell=tell) as ground:
            set_weight(ground, 0.5)
            ground.servers["new"].says = lambda body: Said("wrong")
            questions = [{"question": f"{number}?", "answer": "old"} for number in range(60)]
            ground.http().post("/canary/replay", json={"questions": questions})
            until(lambda: len(told) >= 3, "the verdict to be told, and told again")
            assert {each["status"] for each in told} == {"firing"}
            alerts = [each["alerts"][0] for each in told]
            assert len({(alert["fingerprint"], alert["startsAt"]) for alert in alerts}) == 1, "it is one alert"
            assert alerts[0]["labels"] == {
                "alertname": "CouncilCanaryFailed",
                "severity": "critical",
                "service": "council-canary",
                "setting": "1",
            }
            assert "accuracy: " in alerts[0]["annotations"]["summary"]
            set_weight(ground, 0)
            until(lambda: told[-1]["status"] == "resolved", "its end to be told")
            count = len(told)
            set_weight(ground, 0.5)
            assert [each["status"] for each in told[count:]] in ([], ["resolved"]), "a new canary begins anew"
