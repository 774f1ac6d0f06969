"""The official client against the council: what it asks of OpenAI it can ask here; it understands each refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said
from tests.waiting import until

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "disk"}'}}


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with council(tmp_path, "one") as made:
        yield made


def test_a_question_is_answered_with_what_it_took(ground: Ground) -> None:
    ground.servers["one"].says = lambda body: Said("because of Rayleigh", usage=(11, 3))
    answer = ground.client().chat.completions.create(model="council", messages=MESSAGES, temperature=0.5)
    assert answer.choices[0].message.content == "because of Rayleigh"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 14
    (asked,) = ground.servers["one"].asked
    assert (asked["model"], asked["temperature"], asked["messages"]) == ("model-of-one", 0.5, MESSAGES)
    (stage,) = answer.to_dict()["council"]["stages"]
    assert (stage["stage"], stage["backend"], stage["tokens"]) == ("one", "one", {"input": 11, "output": 3})
    assert stage["latency_ms"] > 0
    assert stage["cost_usd"] == "0"


def test_a_stream_gives_the_same_text_in_pieces(ground: Ground) -> None:
    ground.servers["one"].says = lambda body: Said("one two three")
    chunks = list(ground.client().chat.completions.create(model="council", messages=MESSAGES, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two three "
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert chunks[-1].to_dict()["council"]["stages"][0]["tokens"] == {"input": 7, "output": 5}


def test_usage_comes_in_a_stream_only_for_who_asks_for_it(ground: Ground) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        ground.client().chat.completions.create(model="council", messages=MESSAGES, stream=True, stream_options=options)
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 7
    assert ground.servers["one"].asked[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools_are_passed_through(ground: Ground, stream: bool) -> None:
    ground.servers["one"].says = lambda body: Said(tool_calls=[CALL])
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    given = ground.client().chat.completions.create(model="council", messages=MESSAGES, tools=tools, stream=stream)
    if stream:
        calls = [call for chunk in given for call in chunk.choices[0].delta.tool_calls or ()]
    else:
        calls = list(given.choices[0].message.tool_calls)
    assert [(call.function.name, call.function.arguments) for call in calls] == [("look", '{"at": "disk"}')]
    assert ground.servers["one"].asked[0]["tools"] == tools


def test_a_schema_for_the_answer_is_passed_through(ground: Ground) -> None:
    ground.servers["one"].says = lambda body: Said('{"colour": "blue"}')
    form: Any = {"type": "json_schema", "json_schema": {"name": "colour", "schema": {"type": "object"}}}
    answer = ground.client().chat.completions.create(model="council", messages=MESSAGES, response_format=form)
    assert answer.choices[0].message.content == '{"colour": "blue"}'
    assert ground.servers["one"].asked[0]["response_format"] == form


def test_texts_are_completed_and_embedded_and_routes_listed(ground: Ground) -> None:
    client = ground.client()
    ground.servers["one"].says = lambda body: Said("upon a time")
    assert client.completions.create(model="council", prompt="Once").choices[0].text == "upon a time"
    pieces = client.completions.create(model="council", prompt="Once", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == "upon a time "
    vectors = client.embeddings.create(model="council", input=["a", "abc"], encoding_format="float")
    assert [item.embedding for item in vectors.data] == [[1.0, 1.0], [3.0, 1.0]]
    assert ground.servers["one"].asked[-1]["model"] == "small"
    assert [model.id for model in client.models.list()] == ["council"]
    assert client.models.retrieve("council").id == "council"


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": MESSAGES, "n": 0}, "n"),
        ({"messages": MESSAGES, "n": 17}, "n"),
        ({"messages": MESSAGES, "max_tokens": "many"}, "max_tokens"),
        ({"messages": MESSAGES, "stream": "yes"}, "stream"),
        ({"messages": MESSAGES, "stream_options": 3}, "stream_options"),
        ({"messages": MESSAGES, "model": 5}, "model"),
    ],
)
def test_what_is_wrong_is_named_and_reaches_no_backend(ground: Ground, body: dict[str, Any], parameter: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ground.client().post("/chat/completions", cast_to=object, body=body)
    assert caught.value.param == parameter
    assert caught.value.code == "invalid_value"
    assert ground.servers["one"].asked == []


def test_each_refusal_is_one_that_the_client_knows(ground: Ground) -> None:
    client = ground.client()
    with pytest.raises(openai.NotFoundError, match="there are: council"):
        client.chat.completions.create(model="gpt-9", messages=MESSAGES)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    with pytest.raises(openai.AuthenticationError):
        ground.client(api_key="wrong").models.list()
    with pytest.raises(openai.BadRequestError, match="no JSON"):
        client.post("/chat/completions", cast_to=object, content=b"{", options={"headers": {}})
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="council", messages=[{"role": "user", "content": "x" * 9_000_000}])
    assert caught.value.status_code == 413


def test_input_beyond_the_routes_limit_is_refused_and_output_cut_to_it(tmp_path: Path) -> None:
    with council(tmp_path, "one", route={"most_input_tokens": 100, "most_output_tokens": 50}) as ground:
        with pytest.raises(openai.BadRequestError) as caught:
            ground.client().chat.completions.create(
                model="council", messages=[{"role": "user", "content": "word " * 100}]
            )
        assert caught.value.code == "context_length_exceeded"
        for wanted, got in ((None, 50), (20, 20), (5000, 50)):
            ground.client().chat.completions.create(
                model="council", messages=MESSAGES, **({"max_tokens": wanted} if wanted else {})
            )
            assert ground.servers["one"].asked[-1]["max_completion_tokens"] == got


def test_what_a_backend_says_of_the_request_reaches_the_client(ground: Ground) -> None:
    ground.servers["one"].says = lambda body: Said(
        status=400, error={"message": "temperature is too hot", "type": "x", "param": "temperature", "code": "hot"}
    )
    with pytest.raises(openai.BadRequestError, match="temperature is too hot") as caught:
        ground.client().chat.completions.create(model="council", messages=MESSAGES)
    assert (caught.value.param, caught.value.code) == ("temperature", "hot")
    assert len(ground.servers["one"].asked) == 1, "a wrong request is not asked again"


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_ends_the_work_at_the_backend(ground: Ground, stream: bool) -> None:
    ground.servers["one"].says = lambda body: Said("a b c d e f g h", delay=0.0 if stream else 30.0, pause=5.0)
    client = ground.client(timeout=0.7)
    with pytest.raises(openai.APITimeoutError):
        list(client.chat.completions.create(model="council", messages=MESSAGES, stream=stream))
    until(lambda: ground.servers["one"].left, "the backend to see that nobody waits")
    assert ground.client().models.list().data, "and the council goes on"
