"""Beta distributions: the belief in how often a remedy helps. Pure mathematics.

Everything is done over t = log(x / (1 - x)). There the density is smooth and log-concave for all parameters, also where
it is infinite at 0 or 1 as a function of x, so that quadrature converges quickly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

_NEGLIGIBLE = 36.0
"""exp(-36) is below the relative precision of a float."""
_TINY = 1e-300
# Gauss-Legendre, 8 points on [-1, 1]: nodes and weights of the positive half (DLMF 3.5, table 3.5.2).
_HALF_RULE = (
    (0.1834346424956498, 0.3626837833783620),
    (0.5255324099163290, 0.3137066458778873),
    (0.7966664774136267, 0.2223810344533745),
    (0.9602898564975363, 0.1012285362903763),
)
_RULE = tuple((sign * node, weight) for node, weight in _HALF_RULE for sign in (-1.0, 1.0))


@dataclass(frozen=True)
class Beta:
    """A Beta distribution with the parameters `good` and `bad`, both above 0."""

    good: float
    bad: float

    @property
    def mean(self) -> float:
        """The expected chance that the remedy helps."""
        return self.good / (self.good + self.bad)

    def cdf(self, x: float) -> float:
        """The probability of a chance of at most `x`."""
        if x <= 0:
            return 0.0
        return 1.0 if x >= 1 else self._below(math.log(x) - math.log1p(-x))

    def quantile(self, share: float) -> float:
        """The chance below which the distribution has `share` (0 to 1, exclusive) of its weight."""
        low, high = self._extent
        while high - low > 1e-12 * max(1.0, abs(low)):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            low, high = (middle, high) if self._below(middle) < share else (low, middle)
        return _logistic(low)

    def interval(self, weight: float) -> tuple[float, float]:
        """The equal-tailed interval that holds `weight` (0 to 1, exclusive) of the distribution."""
        return self.quantile((1 - weight) / 2), self.quantile((1 + weight) / 2)

    @cached_property
    def _log_beta(self) -> float:
        return math.lgamma(self.good) + math.lgamma(self.bad) - math.lgamma(self.good + self.bad)

    def _log_density(self, t: float) -> float:
        return -self.good * _softplus(-t) - self.bad * _softplus(t) - self._log_beta

    def _below(self, t: float) -> float:
        """The regularised incomplete beta function at x = logistic(t): continued fraction DLMF 8.17.22."""
        x = _logistic(t)
        front = math.exp(self._log_density(t))
        if x < (self.good + 1) / (self.good + self.bad + 2):
            return front * _continued_fraction(self.good, self.bad, x) / self.good
        return 1.0 - front * _continued_fraction(self.bad, self.good, _logistic(-t)) / self.bad

    @cached_property
    def _mode(self) -> float:
        return math.log(self.good / self.bad)

    @cached_property
    def _extent(self) -> tuple[float, float]:
        """Between which values of t all that is not negligible lies; the density falls on both sides of its mode."""
        ends = []
        for sign in (-1.0, 1.0):
            reach, least = 1.0, self._log_density(self._mode) - _NEGLIGIBLE
            while self._log_density(self._mode + sign * reach) > least:
                reach *= 2
            ends.append(self._mode + sign * reach)
        return ends[0], ends[1]

    @cached_property
    def _landmarks(self) -> tuple[float, ...]:
        """Where an integral over this density is parted: dense at the mode, wide in the tails."""
        low, high = self._extent
        width = 1 / math.sqrt(self.good * self.bad / (self.good + self.bad))
        marks = [self._mode, low, high]
        step = width
        while step < high - low:
            marks += [mark for mark in (self._mode - step, self._mode + step) if low < mark < high]
            step *= 2
        return tuple(marks)


def first_probabilities(beliefs: Sequence[Beta]) -> tuple[float, ...]:
    """For each belief the probability that its draw is the highest, when one is drawn of each.

    P(i) = integral of f_i(x) * product over the others of F_j(x), by Gauss-Legendre on pieces between the landmarks of
    all densities. Agrees with the closed form for two beliefs of whole parameters to better than 1e-8.
    """
    totals = [0.0] * len(beliefs)
    cuts = sorted({mark for belief in beliefs for mark in belief._landmarks})
    for low, high in pairwise(cuts):
        half, middle = (high - low) / 2, (high + low) / 2
        for node, weight in _RULE:
            t = middle + half * node
            below = [belief._below(t) for belief in beliefs]
            for index, belief in enumerate(beliefs):
                others = math.prod(value for other, value in enumerate(below) if other != index)
                totals[index] += weight * half * math.exp(belief._log_density(t)) * others
    whole = sum(totals)
    return tuple(total / whole for total in totals)


def _logistic(t: float) -> float:
    return 1 / (1 + math.exp(-t)) if t >= 0 else math.exp(t) / (1 + math.exp(t))


def _softplus(t: float) -> float:
    """log(1 + exp(t)) without overflow."""
    return max(t, 0.0) + math.log1p(math.exp(-abs(t)))


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The fraction of DLMF 8.17.22, evaluated by the modified algorithm of Lentz."""
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, 1000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            c = 1 + numerator / c
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = c if abs(c) > _TINY else _TINY
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            return value
    return value
