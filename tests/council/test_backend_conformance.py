"""What a server of models says over HTTP: the double of the tests and a real vLLM are held to the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from council.settings import AgentsFile
from tests.council.ground import council
from tests.doubles.model_server import Said, model_server
from tests.real.vllm import Vllm

Json = dict[str, Any]
QUESTION = [{"role": "user", "content": "Is it down?"}]
SCHEMA = {
    "type": "object",
    "properties": {"down": {"type": "boolean"}, "kind": {"type": "string", "enum": ["look", "act"]}},
    "required": ["down", "kind"],
    "additionalProperties": False,
}


@dataclass
class Backend:
    """A server, and how it is told what to say; a real one cannot be told."""

    url: str
    model: str
    told: Callable[[Said], None]
    key: str = "none"

    def post(self, path: str, **body: object) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json={"model": self.model, **body}, timeout=120, trust_env=False)

    def chat(self, **body: object) -> Json:
        answer = self.post("/chat/completions", messages=QUESTION, **body)
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        return document


@pytest.fixture(params=["double", pytest.param("vllm", marks=[pytest.mark.component("vllm"), pytest.mark.vllm])])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "vllm":
        server: Vllm = request.getfixturevalue("vllm_server")
        yield Backend(server.url, server.model, lambda said: None)
        return
    with model_server() as double:

        def told(said: Said) -> None:
            double.says = lambda body: said

        yield Backend(double.url, "any", told)


def counted(usage: Json) -> None:
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def streamed(backend: Backend, **body: object) -> tuple[list[Json], str]:
    """The chunks of a stream, and what came last."""
    asked = {"model": backend.model, "messages": QUESTION, "stream": True, **body}
    with httpx.stream("POST", f"{backend.url}/chat/completions", json=asked, timeout=120, trust_env=False) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    return [json.loads(line) for line in lines[:-1]], lines[-1]


def test_a_whole_answer(backend: Backend) -> None:
    answer = backend.chat(max_tokens=8)
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["id"], str)
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert isinstance(choice["message"]["content"], str)
    counted(answer["usage"])


def test_an_answer_that_is_cut_off_says_so(backend: Backend) -> None:
    backend.told(Said("one two", cut_off=True))
    (choice,) = backend.chat(max_tokens=2)["choices"]
    assert choice["finish_reason"] == "length"


def test_probabilities_of_tokens(backend: Backend) -> None:
    backend.told(Said("hello", logprob=-0.5))
    (choice,) = backend.chat(max_tokens=4, logprobs=True)["choices"]
    for each in choice["logprobs"]["content"]:
        assert isinstance(each["token"], str)
        assert each["logprob"] <= 0


def test_an_answer_in_a_schema(backend: Backend) -> None:
    backend.told(Said(json.dumps({"down": True, "kind": "act"})))
    wanted = {"type": "json_schema", "json_schema": {"name": "decision", "schema": SCHEMA}}
    (choice,) = backend.chat(max_tokens=200, response_format=wanted, temperature=0)["choices"]
    validator: Any = Draft202012Validator(SCHEMA)
    validator.validate(json.loads(choice["message"]["content"]))


def test_a_stream(backend: Backend) -> None:
    chunks, last = streamed(backend, max_tokens=8, stream_options={"include_usage": True})
    assert last == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    *told, usage = chunks
    assert usage["choices"] == []
    counted(usage["usage"])
    assert told[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in told[:-1])


def test_a_stream_whose_usage_nobody_wants_has_none(backend: Backend) -> None:
    chunks, _ = streamed(backend, max_tokens=4)
    assert not any(chunk.get("usage") for chunk in chunks)


def test_a_completion(backend: Backend) -> None:
    answer = backend.post("/completions", prompt="Is it", max_tokens=4).json()
    assert answer["object"] == "text_completion"
    assert isinstance(answer["choices"][0]["text"], str)
    counted(answer["usage"])


def test_its_models(backend: Backend) -> None:
    answer = httpx.get(f"{backend.url}/models", timeout=60, trust_env=False).json()
    assert answer["object"] == "list"
    assert backend.model in [each["id"] for each in answer["data"]]


def test_an_error(backend: Backend) -> None:
    backend.told(Said(status=404, error={"message": "no such model", "type": "NotFoundError", "code": 404}))
    answer = backend.post("/chat/completions", messages=QUESTION, model="no-such-model")
    assert answer.status_code == 404
    assert isinstance(answer.json()["error"]["message"], str)


@pytest.mark.component("vllm")
@pytest.mark.vllm
def test_the_council_in_front_of_it(vllm_server: Vllm, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The official client, through the council, to a real model: whole, streamed, and in a schema."""
    stages = [{"name": "real", "backends": {"vllm": 1}, "prior": 0.9}]
    backends = {"vllm": {"url": vllm_server.url, "model": vllm_server.model}}
    folder = tmp_path_factory.mktemp("council")
    with council(folder, "unused", stages=stages, backends=backends, embeddings=None) as served:
        assert isinstance(served.settings, AgentsFile)
        client = served.client()
        whole = client.chat.completions.create(model="council", messages=QUESTION, max_tokens=8)
        assert whole.usage.completion_tokens > 0
        wanted = {"type": "json_schema", "json_schema": {"name": "decision", "schema": SCHEMA}}
        shaped = client.chat.completions.create(
            model="council", messages=QUESTION, max_tokens=200, response_format=wanted, temperature=0
        )
        assert set(json.loads(shaped.choices[0].message.content)) == {"down", "kind"}
        chunks = list(client.chat.completions.create(model="council", messages=QUESTION, max_tokens=8, stream=True))
        assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] in ("stop", "length")
