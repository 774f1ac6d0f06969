"""What clients see when backends fail: before the first content an HTTP error, after it one event and nothing more."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said
from tests.waiting import until


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with council(tmp_path, "one") as made:
        yield made


def in_turn(*said: Said) -> Callable[[dict[str, Any]], Said]:
    waiting = list(said)
    return lambda body: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def events(ground: Ground) -> tuple[int, list[str]]:
    body = {"messages": MESSAGES, "stream": True}
    with ground.http().stream("POST", "/v1/chat/completions", json=body) as response:
        return response.status_code, [line[6:] for line in response.iter_lines() if line.startswith("data: ")]


@pytest.mark.parametrize(
    "failing", [Said("one two three", breaks_after=2), Said("one two three", error_after=2)], ids=["broken", "error"]
)
def test_after_the_first_content_a_failure_is_one_event_and_no_second_answer(ground: Ground, failing: Said) -> None:
    ground.servers["one"].says = in_turn(failing, Said("another answer"))
    status, seen = events(ground)
    assert status == 200
    documents = [json.loads(event) for event in seen]
    assert [each["choices"][0]["delta"].get("content") for each in documents[:-1]] == [None, "one "]
    assert documents[-1]["error"]["type"] == "server_error"
    assert sum("error" in each for each in documents) == 1
    assert len(ground.servers["one"].asked) == 1
    client = ground.client()
    ground.servers["one"].says = in_turn(failing)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="council", messages=MESSAGES, stream=True))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "failing",
    [
        Said(status=500),
        Said(status=503),
        Said(raw=b"<html>"),
        Said(raw=b"[1]"),
        Said(raw=b"{}"),
        Said("one two", breaks_after=1),
        Said("one two", error_after=0),
        Said(raw=b"data: {\n\n"),
    ],
    ids=["500", "503", "html", "list", "empty", "breaks", "error", "torn"],
)
def test_before_content_it_is_asked_again_and_then_refused_never_200(
    tmp_path: Path, failing: Said, stream: bool
) -> None:
    if not stream and (failing.breaks_after is not None or failing.error_after is not None):
        failing = Said(raw=b"\x00")
    with council(tmp_path, "one") as ground:
        client, server = ground.client(), ground.servers["one"]
        server.says = in_turn(failing, failing, Said("at last"))
        given = client.chat.completions.create(model="council", messages=MESSAGES, stream=stream)
        text = "".join(each.choices[0].delta.content or "" for each in given) if stream else given
        assert "at last" in str(text)
        assert len(server.asked) == 3
        server.says = in_turn(failing)
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="council", messages=MESSAGES, stream=stream)
        assert caught.value.status_code == 502
        assert len(server.asked) == 6


def test_a_backend_that_is_down_is_said_to_be_with_when_to_come_back(tmp_path: Path) -> None:
    with council(tmp_path, "one", backend={"one": {"url": "http://127.0.0.1:9/v1"}}) as ground:
        with pytest.raises(openai.InternalServerError, match="cannot be reached") as caught:
            ground.client().chat.completions.create(model="council", messages=MESSAGES)
        assert caught.value.status_code == 503
        assert int(caught.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_ends_what_gives_no_content(tmp_path: Path, stream: bool) -> None:
    with council(tmp_path, "one", route={"deadline_seconds": 0.5}) as ground:
        ground.servers["one"].says = lambda body: Said(delay=20.0)
        with pytest.raises(openai.InternalServerError) as caught:
            ground.client().chat.completions.create(model="council", messages=MESSAGES, stream=stream)
        assert (caught.value.status_code, caught.value.code) == (504, "deadline")
        until(lambda: ground.servers["one"].left, "the backend to see that nobody waits")


def test_silence_in_the_midst_of_a_stream_ends_it(tmp_path: Path) -> None:
    with council(tmp_path, "one", backend={"one": {"idle_seconds": 0.5}}) as ground:
        ground.servers["one"].says = lambda body: Said("one two three")
        assert events(ground)[1][-1] == "[DONE]"
        ground.servers["one"].says = lambda body: Said("one two three", pause=3.0)
        status, seen = events(ground)
        assert status == 200
        assert "sent nothing for 0.5 s" in seen[-1]
        assert "[DONE]" not in seen


def test_who_fails_again_and_again_is_left_alone_and_tried_by_one(tmp_path: Path) -> None:
    breaker = {"failures": 3, "open_seconds": 1.0}
    with council(tmp_path, "one", backend={"one": {"breaker": breaker}}) as ground:
        client, server = ground.client(), ground.servers["one"]
        server.says = lambda body: Said(status=500)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="council", messages=MESSAGES)
        assert len(server.asked) == 3
        with pytest.raises(openai.InternalServerError, match="left alone") as caught:
            client.chat.completions.create(model="council", messages=MESSAGES)
        assert caught.value.status_code == 503
        assert len(server.asked) == 3, "nobody asked it"
        server.says = lambda body: Said("well again")

        def answered() -> bool:
            try:
                return bool(client.chat.completions.create(model="council", messages=MESSAGES))
            except openai.InternalServerError:
                return False

        until(answered, "it to be tried")


def test_another_backend_of_the_stage_takes_over(tmp_path: Path) -> None:
    stages: list[dict[str, Any]] = [{"name": "all", "backends": {"one": 1, "two": 1}, "backoff_seconds": 0.01}]
    with council(tmp_path, "one", "two", stages=stages) as ground:
        ground.servers["one"].says = lambda body: Said(status=500)
        ground.servers["two"].says = lambda body: Said("two is well")
        for _ in range(6):
            answer = ground.client().chat.completions.create(model="council", messages=MESSAGES)
            assert answer.choices[0].message.content == "two is well"


@pytest.mark.parametrize("stream", [False, True])
def test_a_second_backend_is_asked_when_the_first_is_slow(tmp_path: Path, stream: bool) -> None:
    stages: list[dict[str, Any]] = [{"name": "all", "backends": {"slow": 100, "quick": 0.001}, "hedge_seconds": 0.2}]
    with council(tmp_path, "slow", "quick", stages=stages) as ground:
        ground.servers["slow"].says = lambda body: Said("slow", delay=30.0)
        ground.servers["quick"].says = lambda body: Said("quick")
        given = ground.client().chat.completions.create(model="council", messages=MESSAGES, stream=stream)
        text = "".join(each.choices[0].delta.content or "" for each in given) if stream else str(given)
        assert "quick" in text
        until(lambda: ground.servers["slow"].left, "the slow one to be given up")


def test_more_requests_than_are_allowed_at_once_are_sent_away(tmp_path: Path) -> None:
    with council(tmp_path, "one", service={"requests_at_once": 1}) as ground:
        server, go = ground.servers["one"], threading.Event()
        server.says = lambda body: Said("a b", delay=0.0 if go.is_set() else 60.0)
        client = ground.client(timeout=5)

        def wait() -> None:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="council", messages=MESSAGES)

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: server.asked, "the first request to be under way")
        with pytest.raises(openai.InternalServerError, match="too many requests") as caught:
            ground.client().chat.completions.create(model="council", messages=MESSAGES)
        assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "1")
        assert ground.figure("council_requests_turned_away_total") == ground.figure("council_requests_in_flight") == 1
        go.set()
        waiting.join()

        def free() -> bool:
            response = ground.http().post("/v1/chat/completions", json={"messages": MESSAGES})
            return response.status_code == 200

        until(free, "there to be room again")
