"""Calibration: from what a backend says of an answer to how often such answers were right.

With few outcomes Platt's sigmoid is fitted, with many isotonic regression, which needs more data and assumes less
(Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning", ICML 2005, section 4).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from council.settings import LearningSettings

_FOLDS = 5
_BINS = 10
_EDGE = 1e-6
"""As near to 0 and 1 as a confidence is taken for a logit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer of which somebody said whether it was right."""

    raw: float
    right: bool
    question: str = ""
    """What was asked, where that is kept."""


class Calibration(Protocol):
    """A fitted curve; pure and quick."""

    def probability(self, raw: float) -> float:
        """How probably an answer with this raw confidence is right."""


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """Platt's: a logistic curve over the logit of the raw confidence."""

    slope: float
    offset: float

    def probability(self, raw: float) -> float:
        """As the protocol says."""
        return 1 / (1 + math.exp(-(self.slope * _logit(raw) + self.offset)))


@dataclass(frozen=True, slots=True)
class Steps:
    """Isotonic regression: never falling, linear between the points that it was fitted to."""

    raws: tuple[float, ...]
    probabilities: tuple[float, ...]

    def probability(self, raw: float) -> float:
        """As the protocol says."""
        after = bisect_right(self.raws, raw)
        if after == 0:
            return self.probabilities[0]
        if after == len(self.raws):
            return self.probabilities[-1]
        left, right = self.raws[after - 1], self.raws[after]
        low, high = self.probabilities[after - 1], self.probabilities[after]
        return low + (high - low) * (raw - left) / (right - left)


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration, and how far off it was where it had not seen the outcomes."""

    calibration: Calibration
    error: float
    """Expected calibration error over held-out folds."""
    outcomes: int


def fit(outcomes: Sequence[Outcome], settings: LearningSettings) -> Fit | None:
    """The calibration that these outcomes teach; None while they are too few, or all alike.

    Raises ImportError without scikit-learn.
    """
    right = sum(each.right for each in outcomes)
    if len(outcomes) < settings.least_outcomes or min(right, len(outcomes) - right) < _FOLDS:
        return None
    held_out: list[tuple[float, bool]] = []
    for fold in range(_FOLDS):
        # Every fifth: outcomes lie in the order in which they came, and a fold shall not be one week.
        rest = [each for number, each in enumerate(outcomes) if number % _FOLDS != fold]
        curve = _curve(rest, settings)
        held_out += [(curve.probability(each.raw), each.right) for each in outcomes[fold::_FOLDS]]
    return Fit(_curve(outcomes, settings), expected_calibration_error(held_out), len(outcomes))


def expected_calibration_error(judged: Sequence[tuple[float, bool]], bins: int = _BINS) -> float:
    """The mean distance of probability and share of right answers, over bins of equal width, weighted by their size.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    sums: dict[int, list[float]] = {}
    for probability, right in judged:
        total = sums.setdefault(min(int(probability * bins), bins - 1), [0.0, 0.0])
        total[0] += probability
        total[1] += right
    return sum(abs(expected - seen) for expected, seen in sums.values()) / len(judged) if judged else 0.0


def _curve(outcomes: Sequence[Outcome], settings: LearningSettings) -> Calibration:
    right = [int(each.right) for each in outcomes]
    if len(outcomes) >= settings.isotonic_from:
        from sklearn.isotonic import IsotonicRegression

        regression = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        regression.fit([each.raw for each in outcomes], right)
        return Steps(tuple(map(float, regression.X_thresholds_)), tuple(map(float, regression.y_thresholds_)))
    from sklearn.linear_model import LogisticRegression

    sigmoid = LogisticRegression(C=1e6)
    sigmoid.fit([[_logit(each.raw)] for each in outcomes], right)
    return Sigmoid(float(sigmoid.coef_[0][0]), float(sigmoid.intercept_[0]))


def _logit(raw: float) -> float:
    inside = min(1 - _EDGE, max(_EDGE, raw))
    return math.log(inside / (1 - inside))
