"""A canary: what its gates find is what their power calculation promises, and its share is its weight."""

from __future__ import annotations

import random
from itertools import cycle

import pytest

from council.canary.judging import Gate, Seen, Verdict, judge
from council.canary.splitting import Split
from council.canary.statistics import Pairs, fails, pairs_needed, power, quantile_bounds, rate_excess
from council.settings import CanaryGates

GATES = CanaryGates()
DISCORDANCE = 0.2
SEEDS = 400
WELL = Seen(requests=1000, errors=5, seconds=[0.1 + number / 10_000 for number in range(1000)], cost=1.0)
SAME = Pairs(both=3000, only_main=100, only_canary=100, neither=800)


def drawn(draw: random.Random, count: int, drop: float) -> Pairs:
    """Answers of a main and a canary whose true drop is `drop`."""
    both, only_main, only_canary = 0.6, (DISCORDANCE + drop) / 2, (DISCORDANCE - drop) / 2
    kinds = draw.choices(range(4), (both, only_main, only_canary, 1 - both - DISCORDANCE), k=count)
    return Pairs(*(kinds.count(kind) for kind in range(4)))


def found(count: int, drop: float) -> float:
    """How often the gate fails it, of so many seeds."""
    return (
        sum(
            fails(drawn(random.Random(seed), count, drop), GATES.most_drop, GATES.significance) for seed in range(SEEDS)
        )
        / SEEDS
    )


@pytest.mark.parametrize("drop", [0.035, 0.05, 0.08])
def test_a_planted_drop_is_found_as_often_as_the_power_says(drop: float) -> None:
    needed = pairs_needed(drop, DISCORDANCE, GATES.most_drop, GATES.significance, GATES.power)
    declared = power(needed, drop, DISCORDANCE, GATES.most_drop, GATES.significance)
    assert declared >= GATES.power
    # Three standard errors of a share of 400.
    assert found(needed, drop) >= GATES.power - 0.06
    fewer = needed // 3
    assert abs(found(fewer, drop) - power(fewer, drop, DISCORDANCE, GATES.most_drop, GATES.significance)) < 0.08


@pytest.mark.parametrize("count", [300, 700, 2000])
def test_an_identical_canary_is_hardly_ever_failed(count: int) -> None:
    assert found(count, 0.0) <= GATES.significance


def test_below_the_needed_pairs_nothing_is_said() -> None:
    needed = pairs_needed(GATES.found_drop, DISCORDANCE, GATES.most_drop, GATES.significance, GATES.power)
    for seed in range(50):
        verdict, gates = judge(WELL, WELL, drawn(random.Random(seed), needed // 2, 0.08), GATES)
        assert gates[0].verdict is Verdict.INCONCLUSIVE
        assert verdict is Verdict.INCONCLUSIVE
        assert gates[0].samples < gates[0].needed


def test_an_allowed_drop_can_never_be_found() -> None:
    with pytest.raises(ValueError, match="has to exceed"):
        pairs_needed(0.03, DISCORDANCE, 0.03, 0.05, 0.8)
    with pytest.raises(ValueError, match="found_drop has to exceed most_drop"):
        CanaryGates(most_drop=0.06)


def by_name(gates: list[Gate]) -> dict[str, Verdict]:
    return {gate.name: gate.verdict for gate in gates}


def test_a_canary_that_is_as_good_passes_every_gate() -> None:
    verdict, gates = judge(WELL, WELL, SAME, GATES)
    assert verdict is Verdict.PASS
    assert set(by_name(gates).values()) == {Verdict.PASS}


@pytest.mark.parametrize(
    ("canary", "pairs", "failed"),
    [
        (WELL, Pairs(both=2800, only_main=500, only_canary=100, neither=600), "accuracy"),
        (Seen(1000, 5, [0.2 + number / 5000 for number in range(1000)], 1.0), SAME, "latency_p95"),
        (Seen(1000, 60, WELL.seconds, 1.0), SAME, "error_rate"),
        (Seen(1000, 5, WELL.seconds, 1.6), SAME, "cost"),
    ],
)
def test_one_gate_that_fails_fails_the_canary(canary: Seen, pairs: Pairs, failed: str) -> None:
    verdict, gates = judge(WELL, canary, pairs, GATES)
    assert verdict is Verdict.FAIL
    assert by_name(gates) == {gate.name: Verdict.FAIL if gate.name == failed else Verdict.PASS for gate in gates}
    assert next(gate for gate in gates if gate.name == failed).reason


def test_what_chance_may_do_fails_nobody() -> None:
    slow = [*WELL.seconds[:-20], *(5.0 for _ in range(20))]  # the slowest 2 %
    verdict, gates = judge(WELL, Seen(1000, 9, slow, 1.4), SAME, GATES)
    assert verdict is Verdict.PASS, gates


@pytest.mark.parametrize("pairs", [Pairs(0, 0, 0, 0), SAME])
def test_no_data_is_never_healthy(pairs: Pairs) -> None:
    nothing = Seen(0, 0, [], 0.0)
    verdict, gates = judge(WELL, nothing, pairs, GATES)
    assert verdict is Verdict.INCONCLUSIVE
    assert all(gate.verdict is Verdict.INCONCLUSIVE for gate in gates[1:])
    assert judge(nothing, nothing, Pairs(0, 0, 0, 0), GATES)[0] is Verdict.INCONCLUSIVE


def test_bounds_hold_as_often_as_they_say() -> None:
    draw = random.Random(3)
    below = above = 0
    for _ in range(300):
        _, low, high = quantile_bounds([draw.random() for _ in range(400)], 0.95, 0.05)
        below += low > 0.95
        above += high < 0.95
    assert max(below, above) <= 300 * 0.09
    excess, least = rate_excess((5, 1000), (60, 1000), 0.05)
    assert 0.03 < least < excess == 0.055


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.75, 1.0, 0.0])
@pytest.mark.parametrize("shape", ["equal", "unequal", "alone"])
def test_the_measured_share_is_the_weight_within_two_points(weight: float, shape: str) -> None:
    split, draw = Split(weight), random.Random(5)
    sides: dict[str, set[str]] = {}
    lengths = {"equal": cycle([10]), "unequal": (1 + int(draw.paretovariate(1.2)) for _ in cycle([0])), "alone": None}
    steps = lengths[shape]
    for number in range(3000):
        for _ in range(min(next(steps), 60) if steps is not None else 1):
            session = None if steps is None else f"session-{number}"
            side = split.side("tenant", session)
            sides.setdefault(session or f"request-{number}", set()).add(side)
    assert split.measured is not None
    assert abs(split.measured - weight) <= 0.02
    assert all(len(each) == 1 for each in sides.values()), "a session was moved"


def test_a_weight_of_zero_holds_for_every_session_at_once() -> None:
    split = Split(1.0)
    assert split.side("t", "s") == "canary"
    split.set_weight(0.0)
    assert split.side("t", "s") == "main"
    assert split.measured == 0.0
    split.set_weight(0.5)
    assert {split.side("t", f"s{number}") for number in range(10)} == {"main", "canary"}
