"""The council as it is shipped, without any model: what was told is recalled, and nothing is made up."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from council.configuration import load
from tests.council.ground import Ground, at_work, chat
from tests.waiting import until


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Ground]:
    settings = load(None)
    with at_work(settings, tmp_path) as ground:
        yield ground


@pytest.mark.parametrize(
    ("told", "question", "answer"),
    [
        (["My bike is turquoise."], "What colour is my bike?", "My bike is turquoise."),
        (["My bike is turquoise."], "What colour is my car?", "I don't know."),
        (["My bike is fast."], "What colour is my bike?", "I don't know."),
        (["My bike is turquoise.", "My car is red."], "what color is my car", "My car is red."),
        (
            ["The backup runs at 3 am. The restore takes an hour."],
            "When does the backup run?",
            "The backup runs at 3 am.",
        ),
        (["Ada is on call."], "Who is on call?", "Ada is on call."),
        ([], "What colour is my bike?", "I don't know."),
        (["My bike is turquoise."], "What is the capital of France?", "I don't know."),
        (["What colour is my bike?"], "What colour is my bike?", "I don't know."),
    ],
)
def test_what_was_told_is_recalled(shipped: Ground, told: list[str], question: str, answer: str) -> None:
    for text in told:
        chat(shipped, text)
    assert chat(shipped, question) == answer


def test_another_session_and_another_tenant_know_nothing_of_it(shipped: Ground) -> None:
    chat(shipped, "My bike is turquoise.", "one")
    assert chat(shipped, "What colour is my bike?", "two") == "I don't know."


@pytest.mark.parametrize("stream", [False, True])
def test_the_official_client_recalls_within_its_own_conversation(shipped: Ground, stream: bool) -> None:
    messages: Any = [
        {"role": "user", "content": "My bike is turquoise."},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "What colour is my bike?"},
    ]
    given = shipped.client().chat.completions.create(model="council", messages=messages, stream=stream)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in given)
    else:
        text = given.choices[0].message.content
    assert text == "My bike is turquoise."


def test_with_a_session_the_official_client_is_remembered(shipped: Ground) -> None:
    client = shipped.client(default_headers={"x-session-id": "mine"})
    for content, answer in (("My bike is turquoise.", "Noted."), ("What colour is my bike?", "My bike is turquoise.")):
        given = client.chat.completions.create(model="council", messages=[{"role": "user", "content": content}])
        assert given.choices[0].message.content == answer
    assert given.to_dict()["council"]["stages"][0]["confidence"] == 1.0


def test_facts_are_told_listed_and_forgotten(shipped: Ground) -> None:
    http = shipped.http()
    kept = http.post("/memory", json={"text": "The spare key hangs behind the door."})
    assert kept.status_code == 201
    assert http.post("/memory", json={"text": "The spare key hangs behind the door."}).status_code == 409
    assert chat(shipped, "Where does the spare key hang?") == "The spare key hangs behind the door."
    assert [fact["text"] for fact in http.get("/memory").json()["facts"]] == ["The spare key hangs behind the door."]
    assert http.delete("/memory").status_code == 400
    assert http.delete(f"/memory/{kept.json()['id']}").json() == {"forgotten": 1}
    assert http.delete(f"/memory/{kept.json()['id']}").status_code == 404
    assert chat(shipped, "Where does the spare key hang?") == "I don't know."


@pytest.mark.parametrize(
    "path", ["/chat", "/memory", "/v1/chat/completions", "/v1/models", "/metrics", "/v1/embeddings"]
)
def test_nobody_comes_in_without_the_key(shipped: Ground, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {shipped.key}"}):
        method = "GET" if path in ("/v1/models", "/metrics") else "POST"
        answer = httpx.request(method, shipped.url + path, headers=headers, json=None if method == "GET" else {})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


@contextmanager
def command(folder: Path) -> Iterator[tuple[str, str]]:
    """`council serve` as a process of its own: its address and its key."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    argv = [str(Path(sys.executable).parent / "council"), "serve", "--config", str(folder), "--listen", listen]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        file = Path(process.stderr.readline().removeprefix("its key lies in ").strip())

        def healthy() -> bool:
            try:
                return httpx.get(f"http://{listen}/health").status_code == 200
            except httpx.TransportError:
                assert process.poll() is None, "it ended"
                return False

        until(healthy, "the council to answer")
        yield f"http://{listen}", file.read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_on_a_bare_machine_it_is_served_by_one_command_and_remembers_over_a_restart(tmp_path: Path) -> None:
    for message, answer in (("My bike is turquoise.", "Noted."), ("What colour is my bike?", "My bike is turquoise.")):
        with command(tmp_path) as (url, key):
            given = httpx.post(
                f"{url}/chat",
                headers={"authorization": f"Bearer {key}"},
                json={"session": "s", "message": message},
                timeout=60,
            )
            assert given.json()["answer"] == answer
            with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
                assert [model.id for model in client.models.list()] == ["council"]
    assert (tmp_path / "state" / "council.key").stat().st_mode & 0o077 == 0
