"""Thompson sampling against a Q-learner, and against chance. Seeds are fixed; docs/learning.md tells what follows."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from tests.simulation.bandits import EXPLORING, SPREAD, courses, q_learner, thompson
from tests.unit.sites import NOW
from uici.model.learning import LearningPolicy, Prior, QLearningSettings
from uici.planning.evidence import Candidate, Seen, believe
from uici.planning.policies import QLearning

TRIALS = 2000


def show(line: str) -> None:
    """For `pytest -rP`."""
    print(line)  # noqa: T201 - captured with the test


@pytest.mark.parametrize("settings", EXPLORING, ids=lambda each: f"alpha {each.alpha}, epsilon {each.epsilon}")
def test_thompson_sampling_loses_less_than_any_q_learner_that_goes_on_trying(settings: QLearningSettings) -> None:
    """Whatever its parameters: so also than the one that is tuned best to this very problem."""
    ours = courses(thompson, SPREAD, TRIALS, [f"thompson {seed}" for seed in range(10)])
    theirs = courses(q_learner(settings), SPREAD, TRIALS, [f"q {seed}" for seed in range(10)])
    for seed, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        show(f"seed {seed}: regret of Thompson sampling {a.regret:6.1f}, of the Q-learner {b.regret:6.1f}")
    assert sum(a.regret < b.regret for a, b in zip(ours, theirs, strict=True)) >= 9


def test_thompson_sampling_finds_the_best_arm_within_fifty_trials() -> None:
    found = courses(thompson, SPREAD, 50, range(200))
    best = SPREAD.index(max(SPREAD))
    played = sum(course.most_played == best for course in found) / len(found)
    promising = sum(course.most_promising == best for course in found) / len(found)
    show(f"most played {played:.0%}, most promising {promising:.0%}")
    assert played >= 0.65
    assert promising >= 0.65


@pytest.mark.parametrize("alpha", [0.1, None])
def test_counting_here_is_what_the_learning_does_with_a_history(alpha: float | None) -> None:
    chance = random.Random(5)
    rewards = [float(chance.random() < 0.4) for _ in range(40)]
    history = tuple(Seen(NOW - timedelta(seconds=40 - n), reward, (), True) for n, reward in enumerate(rewards))
    settings = LearningPolicy(half_life_seconds=315_360_000, q_learning=QLearningSettings(alpha=alpha))
    candidate = Candidate("a", Prior(), history)
    posterior = believe(candidate, NOW, settings).posterior
    assert (posterior.good, posterior.bad) == pytest.approx((1 + sum(rewards), 1 + 40 - sum(rewards)))
    learner = QLearning(settings)
    value, weight = learner.start(Prior()), 0.0
    for reward in rewards:
        value, weight = learner.moved(value, weight, reward)
    assert learner.value(candidate) == pytest.approx(value)
