"""Beliefs, policies, choices and estimates: the mathematics of learning, against closed forms and against chance."""

from __future__ import annotations

import math
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sites import NOW
from uici.model.learning import (
    Exploration,
    LearningPolicy,
    Outcome,
    PolicyName,
    Prior,
    QLearningSettings,
    Veto,
    Word,
    finding_set,
)
from uici.model.site import Remedy
from uici.model.verdict import Verdict
from uici.planning.beta import Beta, first_probabilities
from uici.planning.choosing import choose, weigh
from uici.planning.comparing import Logged, estimate, wilson
from uici.planning.evidence import Candidate, Seen, believe, candidates_of, priors_of
from uici.planning.policies import QLearning, policy_of

SETTINGS = LearningPolicy(half_life_seconds=86_400, borrowed_weight=4, human_weight=2)
SHAPES = st.floats(min_value=0.5, max_value=200)


def seen(
    *rewards: float | None, age_days: float = 0, same: bool = True, words: tuple[bool, ...] = ()
) -> tuple[Seen, ...]:
    at = NOW - timedelta(days=age_days)
    return tuple(Seen(at=at, reward=reward, words=words, same_findings=same) for reward in rewards)


def outcome(remedy: str, reward: float | None, **changes: object) -> Outcome:
    usual: dict[str, object] = {
        "run_id": "run_1", "rung": 1, "at": NOW, "strategy": "down", "remedy": remedy, "findings": "a+b",
        "environment": "local", "target": "web", "verdict": Verdict.EFFECTIVE if reward else Verdict.INEFFECTIVE,
        "reward": reward,
    }  # fmt: skip
    return Outcome.model_validate(usual | changes)


# --- Beta ---


@given(SHAPES, SHAPES, st.floats(min_value=0.001, max_value=0.999))
def test_the_distribution_function_and_its_inverse_agree(good: float, bad: float, share: float) -> None:
    belief = Beta(good, bad)
    x = belief.quantile(share)
    assert belief.cdf(x) == pytest.approx(share, abs=1e-6)
    # The mirror image: P(X <= x) for good, bad is P(X >= 1 - x) for bad, good.
    assert belief.cdf(0.3) == pytest.approx(1 - Beta(bad, good).cdf(0.7), abs=1e-9)


def test_known_values_of_the_distribution() -> None:
    assert Beta(1, 1).cdf(0.37) == pytest.approx(0.37)
    assert Beta(3, 1).cdf(0.5) == pytest.approx(0.125)
    assert Beta(0.5, 0.5).cdf(0.9) == pytest.approx(2 / math.pi * math.asin(math.sqrt(0.9)))
    assert (Beta(2, 3).cdf(-1), Beta(2, 3).cdf(0), Beta(2, 3).cdf(1), Beta(2, 3).cdf(2)) == (0, 0, 1, 1)
    assert Beta(1, 1).interval(0.9) == pytest.approx((0.05, 0.95))


def chance_that_the_second_wins(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Closed form for whole parameters: Cook (2005), "Exact calculation of beta inequalities"."""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    return sum(
        math.exp(
            log_beta(first[0] + i, first[1] + second[1])
            - math.log(second[1] + i)
            - log_beta(1 + i, second[1])
            - log_beta(*first)
        )
        for i in range(second[0])
    )


@given(*[st.integers(min_value=1, max_value=120)] * 4)
def test_first_probabilities_agree_with_the_closed_form_for_two(a: int, b: int, c: int, d: int) -> None:
    first, second = first_probabilities([Beta(a, b), Beta(c, d)])
    assert second == pytest.approx(chance_that_the_second_wins((a, b), (c, d)), abs=1e-8)
    assert first + second == pytest.approx(1)


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 1), (1, 1), (1, 1)],
        [(2, 1), (1, 2), (5, 5), (30, 10), (0.5, 0.5)],
        [(200, 100), (3, 2), (1, 8)],
        [(0.7, 4.2), (11.3, 2.9)],
    ],
)
def test_first_probabilities_agree_with_monte_carlo(shapes: list[tuple[float, float]]) -> None:
    chance, draws = random.Random(7), 20_000
    wins = [0] * len(shapes)
    for _ in range(draws):
        values = [chance.betavariate(*shape) for shape in shapes]
        wins[values.index(max(values))] += 1
    for share, count in zip(first_probabilities([Beta(*shape) for shape in shapes]), wins, strict=True):
        deviation = math.sqrt(share * (1 - share) / draws)
        assert abs(count / draws - share) < 4.5 * deviation + 1e-4


def test_equal_beliefs_have_equal_probabilities() -> None:
    assert first_probabilities([Beta(2, 1)] * 4) == pytest.approx([0.25] * 4)
    assert first_probabilities([Beta(2, 1)]) == (1.0,)


# --- evidence ---


def test_a_belief_is_the_prior_plus_what_was_seen() -> None:
    candidate = Candidate("a", Prior(good=2, bad=1), seen(1, 1, 0, None))
    belief = believe(candidate, NOW, SETTINGS)
    assert (belief.posterior.good, belief.posterior.bad) == (4, 2)


def test_old_evidence_fades_to_the_prior() -> None:
    candidate = Candidate("a", Prior(good=2, bad=1), seen(0, 0, 0, 0, age_days=1))
    assert believe(candidate, NOW, SETTINGS).posterior.bad == pytest.approx(1 + 2), "half after a half-life"
    later = believe(candidate, NOW + timedelta(days=60), SETTINGS).posterior
    assert (later.good, later.bad) == pytest.approx((2, 1), abs=1e-9)


def test_an_outcome_from_the_future_counts_once() -> None:
    candidate = Candidate("a", Prior(), seen(1, age_days=-30))
    assert believe(candidate, NOW, SETTINGS).posterior.good == 2


def test_other_finding_sets_count_up_to_a_limit() -> None:
    few = believe(Candidate("a", Prior(), seen(1, 0, 0, same=False)), NOW, SETTINGS)
    assert (few.posterior.good, few.posterior.bad) == (2, 3)
    many = believe(Candidate("a", Prior(), seen(*[1] * 30, *[0] * 10, same=False)), NOW, SETTINGS)
    assert (many.posterior.good, many.posterior.bad) == (1 + 3, 1 + 1)
    own = believe(Candidate("a", Prior(), seen(*[0] * 20) + seen(*[1] * 100, same=False)), NOW, SETTINGS)
    assert own.posterior.mean < 0.25, "its own outcomes outweigh what was borrowed"


def test_a_persons_word_counts_as_so_many_outcomes_and_not_more() -> None:
    belief = believe(Candidate("a", Prior(), seen(None, words=(True, True, False))), NOW, SETTINGS)
    assert (belief.own.human_good, belief.own.human_bad) == (4, 2)
    assert (belief.own.good, belief.own.bad) == (0, 0)


def test_candidates_know_their_own_outcomes_oldest_first() -> None:
    remedies = [
        Remedy.model_validate({"name": name, "steps": ["restart_service"], "alternative": "g"}) for name in ("a", "b")
    ]
    log = (
        outcome("a", 1.0, findings="a", words=(Word(actor="ann", good=False),)),
        outcome("a", 0.0, at=NOW - timedelta(hours=1)),
        outcome("c", 0.0),
    )
    first, second = candidates_of(priors_of(remedies), log, "a+b")
    assert [(item.reward, item.same_findings, item.words) for item in first.seen] == [
        (0.0, True, ()),
        (1.0, False, (False,)),
    ]
    assert (second.name, second.seen, second.prior) == ("b", (), Prior())


def test_the_key_of_a_finding_set_depends_on_the_names_alone() -> None:
    assert finding_set(["b", "a", "b"]) == finding_set(("a", "b")) == "a+b"
    assert finding_set([]) == "none"


# --- policies ---

LEARNERS = [
    SETTINGS,
    SETTINGS.model_copy(update={"policy": PolicyName.FIXED}),
    SETTINGS.model_copy(update={"policy": PolicyName.Q_LEARNING}),
    SETTINGS.model_copy(
        update={
            "policy": PolicyName.Q_LEARNING,
            "q_learning": QLearningSettings(exploration=Exploration.SOFTMAX, temperature=0.3),
        }
    ),
]
THREE = (
    Candidate("a", Prior(good=2, bad=1), seen(0, 0)),
    Candidate("b", Prior(good=1, bad=1), seen(1)),
    Candidate("c", Prior(good=1, bad=1)),
)


@pytest.mark.parametrize("settings", LEARNERS, ids=lambda settings: f"{settings.policy}")
def test_what_a_policy_says_of_itself_is_how_it_draws(settings: LearningPolicy) -> None:
    policy, draws = policy_of(settings), 4000
    stated = policy.probabilities(THREE, NOW)
    assert sum(stated.values()) == pytest.approx(1)
    firsts = [policy.order(THREE, NOW, random.Random(seed))[0].name for seed in range(draws)]
    for name, share in stated.items():
        assert abs(firsts.count(name) / draws - share) < 4.5 * math.sqrt(share * (1 - share) / draws) + 1e-9


def test_a_q_value_moves_towards_each_outcome() -> None:
    learner = QLearning(SETTINGS)  # alpha 0.1, a word counts as two
    assert learner.value(Candidate("a", Prior(good=3, bad=1))) == 0.75
    assert learner.value(Candidate("a", Prior(), seen(1))) == pytest.approx(0.55)
    assert learner.value(Candidate("a", Prior(), seen(1, 0))) == pytest.approx(0.495)
    assert learner.value(Candidate("a", Prior(), seen(1, same=False))) == 0.5
    assert learner.value(Candidate("a", Prior(), seen(None, words=(False,)))) == pytest.approx(0.5 * 0.9**2)


def test_without_alpha_a_q_value_is_the_plain_average() -> None:
    learner = QLearning(SETTINGS.model_copy(update={"q_learning": QLearningSettings(alpha=None, initial=1.0)}))
    assert learner.value(Candidate("a", Prior())) == 1
    assert learner.value(Candidate("a", Prior(), seen(1, 0, 0, 1, 0))) == pytest.approx(0.4)
    silent = SETTINGS.model_copy(update={"human_weight": 0.0})
    assert QLearning(silent).value(Candidate("a", Prior(), seen(None, words=(True,)))) == 0.5


# --- choosing ---


def test_the_same_seed_and_evidence_choose_the_same() -> None:
    def once(seed: str) -> tuple[str, tuple[float | None, ...]]:
        choice = choose(THREE, {}, SETTINGS, NOW, alternative="g", findings="x", position=1, seed=seed)
        return choice.chosen, tuple(item.value for item in choice.candidates)

    assert once("run_1:1") == once("run_1:1")
    assert len({once(f"run_{number}:1") for number in range(10)}) == 10


def test_a_choice_tells_how_likely_it_was_and_what_was_left_out() -> None:
    choice = choose(
        THREE, {"b": "freeze: no"}, SETTINGS, NOW, alternative="g", findings="x", position=2, seed="run_1:1"
    )
    stated = {item.name: item.probability for item in weigh(THREE, {"b": "freeze: no"}, SETTINGS, NOW)}
    assert set(stated) == {"a", "c"}
    assert choice.propensity == stated[choice.chosen]
    assert [(item.name, item.why) for item in choice.masked] == [("b", "freeze: no")]
    values = [item.value for item in choice.candidates if item.value is not None]
    assert values == sorted(values, reverse=True)
    assert choice.candidates[0].name == choice.chosen


def test_with_everything_masked_the_first_as_declared_is_taken() -> None:
    masked = {"a": "x", "b": "y", "c": "z"}
    choice = choose(THREE, masked, SETTINGS, NOW, alternative="g", findings="x", position=1, seed="s")
    assert (choice.chosen, choice.propensity, choice.candidates) == ("a", 1.0, ())


histories = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, None]),
        st.booleans(),
        st.lists(st.booleans(), max_size=2),
        st.floats(min_value=0, max_value=30),
    ),
    max_size=8,
)


@given(
    st.lists(histories, min_size=2, max_size=4),
    st.sets(st.integers(min_value=0, max_value=3)),
    st.sampled_from(LEARNERS),
    st.integers(),
)
def test_a_vetoed_action_is_never_taken(
    given_histories: list[list[tuple[float | None, bool, list[bool], float]]],
    forbidden: set[int],
    settings: LearningPolicy,
    seed: int,
) -> None:
    candidates = [
        Candidate(
            f"r{number}",
            Prior(good=1 + number, bad=1),
            tuple(
                Seen(at=NOW - timedelta(days=age), reward=reward, words=tuple(words), same_findings=same)
                for reward, same, words, age in history
            ),
        )
        for number, history in enumerate(given_histories)
    ]
    vetoed = {f"r{number}": "vetoed" for number in forbidden if number < len(candidates)}
    choice = choose(candidates, vetoed, settings, NOW, alternative="g", findings="x", position=1, seed=str(seed))
    assert not {item.name for item in choice.candidates} & set(vetoed)
    if len(vetoed) < len(candidates):
        assert choice.chosen not in vetoed
        assert 0 < choice.propensity <= 1
        assert sum(item.probability for item in choice.candidates) == pytest.approx(1)


def test_where_a_veto_holds() -> None:
    everywhere = Veto(id="v", strategy="down", remedy="restart", actor="ann", reason="r", at=NOW)
    assert everywhere.covers("down", "restart", "local", "web")
    assert not everywhere.covers("down", "start", "local", "web")
    assert not everywhere.covers(None, "restart", "local", "web")
    here = everywhere.model_copy(update={"environment": "local", "target": "web"})
    places = (("local", "web"), ("far", "web"), ("local", "db"))
    assert [here.covers("down", "restart", *place) for place in places] == [True, False, False]


# --- estimates from the log ---

CHANCES = {"a": 0.3, "b": 0.8}


def log_of(size: int, share_of_a: float, seed: int) -> list[Logged]:
    chance = random.Random(seed)
    log = []
    for _ in range(size):
        taken = "a" if chance.random() < share_of_a else "b"
        reward = float(chance.random() < CHANCES[taken])
        log.append(Logged(taken, reward, {"a": share_of_a, "b": 1 - share_of_a}))
    return log


def test_a_policy_is_estimated_from_the_log_of_another() -> None:
    found = estimate(log_of(4000, 0.7, 1), [{"a": 0.1, "b": 0.9}] * 4000, confidence=0.9)
    truth = 0.1 * CHANCES["a"] + 0.9 * CHANCES["b"]
    assert found.ips == pytest.approx(truth, abs=0.05)
    assert found.snips == pytest.approx(truth, abs=0.05)
    assert found.choices == 4000
    assert 0 < found.effective_sample_size < 4000
    assert found.unsupported == 0


def test_the_policy_that_logged_is_estimated_by_its_plain_rate() -> None:
    log = log_of(50, 0.5, 3)
    found = estimate(log, [entry.probabilities for entry in log], confidence=0.9)
    rate = sum(entry.reward for entry in log) / 50
    assert (found.ips, found.snips) == pytest.approx((rate, rate))
    assert found.effective_sample_size == pytest.approx(50)


@pytest.mark.parametrize(("size", "share_of_a"), [(40, 0.5), (40, 0.85), (200, 0.9)])
def test_intervals_hold_the_truth_as_often_as_they_say(size: int, share_of_a: float) -> None:
    held = {"ips": 0, "snips": 0}
    for seed in range(300):
        found = estimate(log_of(size, share_of_a, seed), [{"b": 1.0}] * size, confidence=0.9)
        for name, interval in (("ips", found.ips_interval), ("snips", found.snips_interval)):
            assert interval is not None
            held[name] += interval[0] <= CHANCES["b"] <= interval[1]
    # 300 trials of 0.9 stay above 0.85 but once in a thousand times.
    assert min(held.values()) / 300 > 0.85, held


def test_few_and_equal_rewards_do_not_make_an_interval_narrow() -> None:
    log = [Logged("b", 1.0, {"a": 0.5, "b": 0.5})] * 3
    found = estimate(log, [{"b": 1.0}] * len(log), confidence=0.9)
    assert found.snips == 1
    assert found.snips_interval is not None
    assert found.snips_interval[0] < 0.6


def test_what_the_log_never_tried_is_told() -> None:
    log = [Logged("a", 1.0, {"a": 1.0, "b": 0.0})] * 5
    found = estimate(log, [{"a": 0.25, "b": 0.75}] * 5, confidence=0.9)
    assert found.unsupported == 0.75
    never = estimate(log, [{"b": 1.0}] * len(log), confidence=0.9)
    assert (never.ips, never.snips, never.unsupported) == (None, None, 1.0)
    assert estimate([], [], confidence=0.9).choices == 0


def test_wilsons_interval_is_the_textbooks() -> None:
    # Newcombe (1998), table 1: 81 of 263, 95 %.
    assert wilson(81 / 263, 263, 1.959964) == pytest.approx((0.2553, 0.3662), abs=1e-4)
