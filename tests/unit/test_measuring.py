"""The benchmarks' own arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.measuring import Figure, Ratio, Result, timed, write


def test_a_figure_summarises_a_distribution() -> None:
    figure = Figure.of("x", [float(value) for value in range(1, 102)])
    assert (figure.count, figure.median, figure.p95, figure.p99, figure.maximum) == (101, 51.0, 96.0, 100.0, 101.0)


def test_one_value_is_no_distribution() -> None:
    with pytest.raises(ValueError, match="not a distribution"):
        Figure.of("x", [1.0])


def test_warming_up_is_not_counted() -> None:
    calls: list[None] = []
    assert len(timed(lambda: calls.append(None), count=3, warm_up=2)) == 3
    assert len(calls) == 5


def test_what_is_absent_is_written_with_its_reason(tmp_path: Path) -> None:
    written = json.loads(write(Result("gpu", absent="no GPU here"), tmp_path / "new").read_text())
    assert (written["absent"], written["figures"]) == ("no GPU here", [])
    assert written["machine"]["cpus"] >= 1


def test_benchmarks_have_names_of_their_own() -> None:
    names = [benchmark.name for benchmark in BENCHMARKS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("unit", "value", "reached"), [("/s", 80.0, False), ("/s", 100.0, True), ("ms", 80.0, True), ("ms", 101.0, False)]
)
def test_a_rate_reaches_its_goal_from_below_and_a_time_from_above(unit: str, value: float, reached: bool) -> None:
    ratio = Ratio("x", value, "the bare thing", 200.0, unit, goal=100.0)
    assert (ratio.ratio, ratio.reached) == (value / 200, reached)
    assert Ratio("x", value, "the bare thing", 200.0, unit).reached is None


def test_a_ratio_is_written_beside_its_baseline(tmp_path: Path) -> None:
    result = Result("runs", ratios=(Ratio("healed", 30.0, "the bare engine", 60.0, "/s", 30.0),))
    (written,) = json.loads(write(result, tmp_path).read_text())["ratios"]
    assert (written["value"], written["beside"], written["ratio"], written["reached"]) == (30.0, 60.0, 0.5, True)
