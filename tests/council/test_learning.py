"""What people say of answers calibrates how sure a stage has to be."""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from council.learning.calibrating import Outcome, expected_calibration_error, fit
from council.learning.predicting import QuestionModel
from council.settings import LearningSettings
from tests.council.ground import MESSAGES, council
from tests.doubles.model_server import Said
from tests.real.components import require, shared_folder

SETTINGS = LearningSettings()


def told(count: int, seed: int = 1) -> list[Outcome]:
    """A backend that is far surer than it may be: right with the square of what it says."""
    draw = random.Random(seed)
    raws = [draw.random() for _ in range(count)]
    return [Outcome(raw, draw.random() < raw**2) for raw in raws]


@pytest.mark.parametrize("count", [300, 999, 1000, 5000])
def test_a_backend_that_is_too_sure_is_corrected(count: int) -> None:
    found = fit(told(count), SETTINGS)
    assert found is not None
    fresh = told(20_000, seed=2)
    before = expected_calibration_error([(each.raw, each.right) for each in fresh])
    after = expected_calibration_error([(found.calibration.probability(each.raw), each.right) for each in fresh])
    assert before > 0.15
    assert after < 0.05
    assert abs(found.error - after) < 0.06, "what it says of itself is about what it is"
    values = [found.calibration.probability(raw / 100) for raw in range(101)]
    assert values == sorted(values), "surer is never less probable"
    assert 0 <= values[0] <= values[-1] <= 1


def test_a_stage_is_left_out_for_what_it_was_wrong_about(tmp_path: Path) -> None:
    learning = {"least_outcomes": 20, "learn_every": 80, "keeps_questions": True}
    stages = [
        {"name": "small", "backends": {"small": 1}, "gate": 0.0, "skip_below": 0.4},
        {"name": "large", "backends": {"large": 1}, "prior": 0.9},
    ]
    with council(tmp_path, "small", "large", stages=stages, learning=learning) as ground:
        numbers = iter(range(1000))
        ground.servers["small"].says = lambda body: Said(logprob=-0.1, id=f"answer-{next(numbers)}")
        client, http = ground.client(), ground.http()

        def asked(question: str) -> tuple[str, list[dict[str, Any]]]:
            messages = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model="council", messages=messages)
            return answer.id, answer.to_dict()["council"]["stages"]

        for number in range(80):
            about = ("disk", "network")[number % 2]
            answer, _ = asked(f"why is the {about} of machine{number // 2} slow?")
            http.post("/feedback", json={"answer": answer, "right": about == "disk" or number % 16 == 1})
        assert asked("why is the disk of machine7 slow?")[1][0]["accepted"]
        left_out, answered = asked("why is the network of machine7 slow?")[1]
        assert left_out["reason"].startswith("left out: it would be right with a probability of 0.")
        assert answered["stage"] == "large"


@pytest.mark.parametrize(
    "outcomes",
    [[], told(49), [Outcome(0.5, True)] * 500, [Outcome(0.5, False)] * 500],
    ids=["none", "few", "right", "wrong"],
)
def test_too_few_or_all_alike_teach_nothing(outcomes: list[Outcome]) -> None:
    assert fit(outcomes, SETTINGS) is None


@pytest.mark.parametrize(
    ("judged", "error"),
    [
        ([], 0.0),
        ([(1.0, True), (0.0, False)], 0.0),
        ([(0.9, True), (0.9, False)], 0.4),
        ([(0.9, True), (0.9, False), (0.1, False), (0.1, False)], 0.25),
    ],
)
def test_the_error_is_as_its_source_defines_it(judged: list[tuple[float, bool]], error: float) -> None:
    assert math.isclose(expected_calibration_error(judged), error, abs_tol=1e-9)


def test_people_teach_a_council_that_a_stage_is_too_sure(tmp_path: Path) -> None:
    learning = {"least_outcomes": 20, "learn_every": 20}
    with council(tmp_path, "small", "large", learning=learning) as ground:
        numbers = iter(range(1000))
        ground.servers["small"].says = lambda body: Said("yes", logprob=math.log(0.9), id=f"answer-{next(numbers)}")
        ground.servers["large"].says = lambda body: Said("no", logprob=math.log(0.95))
        client, http = ground.client(), ground.http()

        def asked() -> tuple[str, dict[str, Any]]:
            answer = client.chat.completions.create(model="council", messages=MESSAGES)
            return answer.id, answer.to_dict()["council"]["stages"][0]

        for number in range(40):
            answer, stage = asked()
            if not stage["accepted"]:
                break
            given = http.post("/feedback", json={"answer": answer, "right": number % 4 == 0})
            assert given.json() == {"stage": "small", "right": number % 4 == 0}
        assert number == 20
        assert 0.15 < stage["confidence"] < 0.35
        assert stage["raw_confidence"] == 0.9
        assert 0 <= ground.figure('council_calibration_error{stage="small"}') < 0.3
        assert http.post("/feedback", json={"answer": "nobody's", "right": True}).status_code == 404
        assert http.post("/feedback", json={"answer": "answer-1"}).status_code == 400
    with council(tmp_path, "small", "large", learning=learning) as again:
        again.servers["small"].says = lambda body: Said("yes", logprob=math.log(0.9))
        answer = again.client().chat.completions.create(model="council", messages=MESSAGES)
        assert answer.to_dict()["council"]["stages"][0]["confidence"] < 0.35, "it is known after a restart"


def test_on_recorded_answers_it_is_calibrated_and_better_than_chance() -> None:
    shared = shared_folder()
    file = shared / "data" / "routellm-outcomes.jsonl.gz" if shared is not None else Path("none")
    require("payloads", file.is_file(), "no data/routellm-outcomes.jsonl.gz under UICI_SHARED")
    rows = [json.loads(line) for line in gzip.open(file)]
    random.Random(7).shuffle(rows)
    end = len(rows) * 3 // 4
    outcomes = [Outcome(0.5, row["weak_correct"], row["prompt"]) for row in rows[:end]]
    found = QuestionModel.fitted(outcomes, SETTINGS)
    assert found is not None
    held_out = [(found.probability(row["prompt"]), row) for row in rows[end:]]
    assert expected_calibration_error([(sure, row["weak_correct"]) for sure, row in held_out]) <= 0.05
    # The quarter of which it is least sure goes to the strong model; at random the same share would.
    held_out.sort(key=lambda each: each[0])
    quarter = len(held_out) // 4
    right = sum(row["strong_correct"] for _, row in held_out[:quarter])
    right += sum(row["weak_correct"] for _, row in held_out[quarter:])
    weak, strong = (sum(row[name] for _, row in held_out) for name in ("weak_correct", "strong_correct"))
    assert right > weak + (strong - weak) * quarter / len(held_out)
