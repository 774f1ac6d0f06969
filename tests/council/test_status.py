"""What people, probes and dashboards are told of a council, and what becomes of a conversation in pieces."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said
from tests.waiting import until


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with council(tmp_path, "one") as made:
        yield made


def streamed(ground: Ground, **body: Any) -> tuple[int, list[str]]:
    with ground.http().stream("POST", "/chat/stream", json={"message": "Why is the sky blue?", **body}) as response:
        return response.status_code, [line[6:] for line in response.iter_lines() if line.startswith("data: ")]


def test_a_conversation_comes_in_pieces_and_ends_with_who_answered(ground: Ground) -> None:
    ground.servers["one"].says = lambda body: Said("it scatters light")
    status, events = streamed(ground, session="mine")
    assert (status, events[-1]) == (200, "[DONE]")
    *pieces, last = [json.loads(event) for event in events[:-1]]
    assert "".join(piece["delta"] for piece in pieces) == "it scatters light "
    assert all(set(piece) == {"delta"} for piece in pieces)
    assert (last["session"], last["council"]["stages"][0]["backend"]) == ("mine", "one")


def test_a_conversation_that_breaks_is_one_error_and_without_content_it_is_no_stream(ground: Ground) -> None:
    ground.servers["one"].says = lambda body: Said("one two three", breaks_after=2)
    status, events = streamed(ground)
    assert status == 200
    assert json.loads(events[0]) == {"delta": "one "}
    assert [set(json.loads(event)) for event in events] == [{"delta"}, {"error"}]
    ground.servers["one"].says = lambda body: Said(status=500)
    assert streamed(ground) == (502, [])
    assert streamed(ground, message=" ")[0] == 400
    assert streamed(ground, session=["no text"])[0] == 400


def test_a_conversation_in_pieces_is_remembered(tmp_path: Path) -> None:
    stages = [{"name": "agent-0", "backends": {"agent-0": 1}}]
    with council(tmp_path, "one", stages=stages, also={"agent-0": {"kind": "recall"}}) as ground:
        streamed(ground, message="My bike is turquoise.", session="s")
        events = streamed(ground, message="What colour is my bike?", session="s")[1]
        assert json.loads(events[0]) == {"delta": "My bike is turquoise."}


def test_who_can_answer_is_ready_and_needs_no_key_to_say_so(ground: Ground) -> None:
    answer = httpx.get(ground.url + "/readyz")
    ready = {"status": "ready", "reasons": [], "lacking": [], "silent_routes": []}
    assert (answer.status_code, answer.json()) == (200, ready)


def failed(ground: Ground) -> None:
    ground.servers["one"].says = lambda body: Said(status=500)
    assert ground.http().post("/v1/chat/completions", json={"messages": MESSAGES}).status_code >= 500


def test_with_every_backend_left_alone_it_is_not_ready(tmp_path: Path) -> None:
    with council(tmp_path, "one", backend={"one": {"breaker": {"failures": 1, "open_seconds": 3600}}}) as ground:
        failed(ground)
        answer = httpx.get(ground.url + "/readyz")
        assert (answer.status_code, answer.json()["silent_routes"]) == (503, ["council"])
        assert "every backend of every route has failed" in answer.json()["reasons"][0]
        shown = ground.http().get("/status/production").json()["backends"]["one"]["breaker"]
        assert (shown["state"], shown["failures"]) == ("open", 1)
        assert 0 < shown["left_alone_seconds"] <= 3600


def test_it_is_ready_again_once_a_backend_may_be_tried(tmp_path: Path) -> None:
    with council(tmp_path, "one", backend={"one": {"breaker": {"failures": 1, "open_seconds": 0.5}}}) as ground:
        failed(ground)
        until(lambda: httpx.get(ground.url + "/readyz").status_code == 200, "it to be tried again")
        assert ground.http().get("/status/production").json()["backends"]["one"]["breaker"]["state"] == "trying"


@pytest.mark.parametrize("store", ["memory", "state"])
def test_with_a_store_that_cannot_be_written_it_is_not_ready(tmp_path: Path, store: str) -> None:
    with council(tmp_path, "one", memory={"state": str(tmp_path / "state" / "memory.db")}) as ground:
        file = tmp_path / "state" / {"memory": "memory.db", "state": "council.db"}[store]
        with sqlite3.connect(file, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")

            def unready() -> bool:
                answer = httpx.get(ground.url + "/readyz", timeout=30)
                return answer.status_code == 503 and f"{store}: nothing could be written" in answer.json()["reasons"][0]

            until(unready, "the lock to be noticed")
            other.execute("ROLLBACK")
        until(lambda: httpx.get(ground.url + "/readyz", timeout=30).status_code == 200, "it to be ready again")


def test_the_status_tells_what_is_in_force_and_what_is_left(tmp_path: Path) -> None:
    price = {"request": "0.25"}
    callers = {
        name: {"key": f"${{file:{tmp_path}/{name}}}", "administers": name == "boss"} for name in ("boss", "ann", "bob")
    }
    for name in callers:
        (tmp_path / name).write_text(f"key-of-{name}")
    budget = {"day": 5, "tenants": {"ann": 1, "bob": 2}}
    with council(tmp_path, "one", backend={"one": {"price": price}}, budget=budget, callers=callers) as ground:

        def asked(name: str, path: str = "/status/production") -> Any:
            return httpx.get(ground.url + path, headers={"authorization": f"Bearer key-of-{name}"}).json()

        httpx.post(
            ground.url + "/v1/chat/completions",
            headers={"authorization": "Bearer key-of-ann"},
            json={"messages": MESSAGES, "max_tokens": 5},
            timeout=60,
        ).raise_for_status()
        until(lambda: asked("boss")["budget"][0]["reserved_usd"] == "0", "the request to be settled")
        status = asked("boss")
        assert [(each["of"], each["spent_usd"], each["left_usd"]) for each in status["budget"]] == [
            ("day", "0.25", "4.75"),
            ("tenant ann", "0.25", "0.75"),
            ("tenant bob", "0", "2"),
        ]
        assert [each["of"] for each in asked("ann")["budget"]] == ["day", "tenant ann"], "others' spending is theirs"
        assert (status["ready"], status["canary"], status["configuration"]["good"]) == (True, None, True)
        assert status["backends"]["one"]["free"] is False
        assert status["routes"]["council"]["can_answer"] is True
        figures = asked("ann", "/metrics/production")
        assert figures["routes"]["council"]["5m"]["cost_usd"] == 0.25


def test_the_last_windows_tell_latency_errors_and_cost(tmp_path: Path) -> None:
    with council(tmp_path, "one", backend={"one": {"breaker": {"failures": 1000}}}) as ground:
        http = ground.http()
        for _ in range(3):
            http.post("/v1/chat/completions", json={"messages": MESSAGES}).raise_for_status()
        ground.servers["one"].says = lambda body: Said("one two three", breaks_after=2)
        streamed(ground)
        ground.servers["one"].says = lambda body: Said(status=500)
        http.post("/v1/chat/completions", json={"messages": MESSAGES})
        http.post("/v1/chat/completions", json={"messages": "no list"})

        def seen() -> Any:
            return http.get("/metrics/production").json()["routes"]["council"]["5m"]

        until(lambda: seen()["requests"] == 5, "what has ended to be counted")
        assert (seen()["errors"], seen()["error_rate"], seen()["complete"]) == (2, 0.4, True)
        assert 0 < seen()["latency_ms"]["p50"] <= seen()["latency_ms"]["p95"] <= seen()["latency_ms"]["p99"]
        shown = http.get("/metrics/production").json()
        assert shown["backends"]["one"]["1h"]["errors"] == 4, "each attempt counts for a backend"
        assert set(shown["sides"]) == {"main"}


def test_main_and_canary_are_told_apart(tmp_path: Path) -> None:
    canary = {"main": "one", "backend": "two"}
    stages = [{"name": "local", "backends": {"one": 1}}]
    with council(tmp_path, "one", "two", stages=stages, canary=canary) as ground:
        http = ground.http()
        http.put("/canary", json={"weight": 0.5, "because": "a try"}).raise_for_status()
        for _ in range(8):
            http.post("/v1/chat/completions", json={"messages": MESSAGES}).raise_for_status()
        sides = http.get("/metrics/production").json()["sides"]
        assert [sides[side]["1h"]["requests"] for side in ("main", "canary")] == [4, 4]
        assert http.get("/status/production").json()["canary"]["weight"] == 0.5


@pytest.mark.parametrize("path", ["/status/production", "/metrics/production", "/chat/stream"])
def test_these_need_a_key(ground: Ground, path: str) -> None:
    method = "POST" if path == "/chat/stream" else "GET"
    assert httpx.request(method, ground.url + path).status_code == 401
