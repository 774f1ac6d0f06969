"""The statistics of the gates: pure functions of counts, each with its source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()
_MOST_PAIRS = 100_000_000


@dataclass(frozen=True, slots=True)
class Pairs:
    """Main and canary answered the same questions."""

    both: int
    only_main: int
    """Main was right and the canary was not."""
    only_canary: int
    neither: int

    @property
    def count(self) -> int:
        """How many questions."""
        return self.both + self.only_main + self.only_canary + self.neither

    @property
    def drop(self) -> float:
        """By how much the canary's share of right answers is lower."""
        return (self.only_main - self.only_canary) / self.count if self.count else 0.0

    @property
    def discordance(self) -> float:
        """The share of questions of which only one answer was right."""
        return (self.only_main + self.only_canary) / self.count if self.count else 0.0


def fails(pairs: Pairs, most_drop: float, significance: float) -> bool:
    """Whether the drop is more than `most_drop`, and not by chance alone.

    One-sided test of two correlated shares: Agresti, "Categorical Data Analysis", 3rd ed., section 11.1.1 (McNemar).
    """
    differing = pairs.only_main + pairs.only_canary
    if pairs.drop <= most_drop or not differing:
        return False
    z = (pairs.only_main - pairs.only_canary) / math.sqrt(differing)
    return z > _NORMAL.inv_cdf(1 - significance)


def power(count: int, drop: float, discordance: float, most_drop: float, significance: float) -> float:
    """How probably `fails` is true of `count` pairs whose true drop is `drop`.

    By the normal approximation: Connor, "Sample size for testing differences in proportions for the paired-sample
    design", Biometrics 43 (1987).
    """
    if count <= 0 or discordance <= 0:
        return 0.0
    deviation = math.sqrt(max(discordance - drop * drop, 1e-12) / count)
    by_chance = _NORMAL.inv_cdf(1 - significance) * math.sqrt(discordance / count)
    return 1 - _NORMAL.cdf((max(most_drop, by_chance) - drop) / deviation)


def pairs_needed(drop: float, discordance: float, most_drop: float, significance: float, wanted: float) -> int:
    """The fewest pairs by which a true `drop` is found with the power `wanted`.

    Raises ValueError for a drop that is no more than the allowed one: it can never be found.
    """
    if drop <= most_drop:
        raise ValueError(f"a drop of {drop:g} is allowed, so it cannot be found; it has to exceed {most_drop:g}")
    low, high = 1, _MOST_PAIRS
    while low < high:
        middle = (low + high) // 2
        if power(middle, drop, discordance, most_drop, significance) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low


def rate_excess(main: tuple[int, int], canary: tuple[int, int], significance: float) -> tuple[float, float]:
    """By how much a rate of the canary is higher than main's, and the least that it is, with confidence.

    Each is (how many, of how many). The bound is Newcombe's hybrid score interval, method 10: Newcombe, "Interval
    estimation for the difference between independent proportions", Statistics in Medicine 17 (1998).
    """
    z = _NORMAL.inv_cdf(1 - significance)
    ours, (low, _) = canary[0] / canary[1], _wilson(*canary, z)
    theirs, (_, high) = main[0] / main[1], _wilson(*main, z)
    excess = ours - theirs
    return excess, excess - math.sqrt((ours - low) ** 2 + (high - theirs) ** 2)


def quantile_bounds(values: Sequence[float], quantile: float, significance: float) -> tuple[float, float, float]:
    """A quantile of a sample with one-sided bounds below and above it, by order statistics.

    Source: Conover, "Practical Nonparametric Statistics", 3rd ed., section 3.2.
    """
    ordered = sorted(values)
    count = len(ordered)
    spread = _NORMAL.inv_cdf(1 - significance) * math.sqrt(count * quantile * (1 - quantile))
    middle = count * quantile

    def at(rank: float) -> float:
        return ordered[min(count - 1, max(0, math.ceil(rank) - 1))]

    return at(middle), at(middle - spread), at(middle + spread)


def _wilson(hits: int, count: int, z: float) -> tuple[float, float]:
    share = hits / count
    middle = share + z * z / (2 * count)
    width = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - width) / scale, (middle + width) / scale
