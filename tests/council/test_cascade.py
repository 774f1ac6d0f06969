"""Stage after stage: cheap ones first, each answer judged, the best one given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said


def asked(ground: Ground, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    answer = ground.client().chat.completions.create(model="council", messages=more.pop("messages", MESSAGES), **more)
    stages: Any = answer.to_dict()["council"]
    return answer.choices[0].message.content or "", stages["stages"]


def test_an_answer_that_is_sure_enough_ends_the_cascade(tmp_path: Path) -> None:
    with council(tmp_path, "small", "large") as ground:
        ground.servers["small"].says = lambda body: Said("small", logprob=math.log(0.8))
        text, stages = asked(ground)
        assert (text, [each["stage"] for each in stages]) == ("small", ["small"])
        assert (stages[0]["confidence"], stages[0]["accepted"]) == (0.8, True)
        assert ground.servers["large"].asked == []


def test_one_that_is_not_goes_on_and_is_told_with_what_it_cost(tmp_path: Path) -> None:
    price = {"price": {"input_per_million": 1, "output_per_million": 2}}
    with council(tmp_path, "small", "large", backend={"small": price, "large": price}) as ground:
        ground.servers["small"].says = lambda body: Said("small", logprob=math.log(0.5), usage=(100, 10))
        ground.servers["large"].says = lambda body: Said("large", logprob=math.log(0.9), usage=(100, 20))
        text, stages = asked(ground)
        assert text == "large"
        assert [(each["stage"], each["accepted"], each["cost_usd"]) for each in stages] == [
            ("small", False, "0.00012"),
            ("large", True, "0.00014"),
        ]
        assert stages[0]["reason"] == "below the gate of 0.65"
        assert ground.figure('council_stages_total{result="discarded",route="council",stage="small"}') == 1


def test_when_none_is_sure_the_best_one_is_given_and_said_not_to_be_accepted(tmp_path: Path) -> None:
    with council(tmp_path, "small", "large") as ground:
        ground.servers["small"].says = lambda body: Said("small", logprob=math.log(0.6))
        ground.servers["large"].says = lambda body: Said("large", logprob=math.log(0.3))
        text, stages = asked(ground)
        assert text == "small"
        assert [each["accepted"] for each in stages] == [False, False]


def test_a_stage_that_fails_is_told_and_the_next_one_answers(tmp_path: Path) -> None:
    with council(tmp_path, "small", "large") as ground:
        ground.servers["small"].says = lambda body: Said(status=500)
        ground.servers["large"].says = lambda body: Said("large", logprob=-0.01)
        text, stages = asked(ground)
        assert text == "large"
        assert "small answered 500" in stages[0]["reason"]


def test_stages_are_left_out_when_they_are_for_others(tmp_path: Path) -> None:
    stages: list[dict[str, Any]] = [
        {"name": "disks", "backends": {"disks": 1}, "when": {"matches": "(?i)disk|inode"}, "prior": 0.9},
        {"name": "tools", "backends": {"tools": 1}, "when": {"tools": True}, "prior": 0.9},
        {"name": "short", "backends": {"short": 1}, "when": {"most_input_tokens": 20}, "prior": 0.9},
        {"name": "rest", "backends": {"rest": 1}, "prior": 0.9},
    ]
    with council(tmp_path, "disks", "tools", "short", "rest", stages=stages) as ground:
        tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
        for question, more, expected in (
            ("the Disk is full", {}, "disks"),
            ("why?", {"tools": tools}, "tools"),
            ("why?", {}, "short"),
            ("why " * 50, {}, "rest"),
        ):
            _, seen = asked(ground, messages=[{"role": "user", "content": question}], **more)
            assert [each["stage"] for each in seen if each["accepted"]] == [expected]
            assert all(each["reason"].startswith("left out: ") for each in seen if not each["accepted"])


def test_what_the_client_did_not_ask_for_it_does_not_see(tmp_path: Path) -> None:
    with council(tmp_path, "one") as ground:
        ground.servers["one"].says = lambda body: Said("yes", logprob=-0.1)
        plain = ground.client().chat.completions.create(model="council", messages=MESSAGES)
        assert plain.choices[0].logprobs is None
        wanted = ground.client().chat.completions.create(model="council", messages=MESSAGES, logprobs=True)
        assert wanted.choices[0].logprobs is not None


def test_a_stream_tells_every_stage_and_its_cost_at_its_end(tmp_path: Path) -> None:
    price = {"price": {"output_per_million": 1000}}
    with council(tmp_path, "small", "large", backend={"large": price}) as ground:
        ground.servers["small"].says = lambda body: Said(status=500)
        ground.servers["large"].says = lambda body: Said("a b c", usage=(1, 9))
        chunks = list(ground.client().chat.completions.create(model="council", messages=MESSAGES, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a b c "
        told: Any = chunks[-1].to_dict()["council"]
        assert [(each["stage"], each["accepted"], each["cost_usd"]) for each in told["stages"]] == [
            ("small", False, "0"),
            ("large", True, "0.009"),
        ]


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_stage_that_is_meant_the_request_is_refused(tmp_path: Path, stream: bool) -> None:
    stages = [{"name": "disks", "backends": {"disks": 1}, "when": {"matches": "disk"}}]
    with council(tmp_path, "disks", stages=stages) as ground:
        client = ground.client()
        with pytest.raises(openai.BadRequestError, match="it is for other questions"):
            client.chat.completions.create(model="council", messages=MESSAGES, stream=stream)
