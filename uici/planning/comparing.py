"""Would another policy have done better? Estimates from the log of choices that one policy made. Pure.

Each logged choice says which alternative was taken, with which probability, and what came of it. Weighting each by how
much more or less often another policy would have taken it estimates that policy's rate of success: IPS (Horvitz and
Thompson 1952) and its self-normalised form SNIPS (Swaminathan and Joachims 2015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Logged:
    """One choice of the log that had an outcome which counts."""

    taken: str
    reward: float
    probabilities: Mapping[str, float]
    """Of each candidate that could be taken, the probability with which the logging policy would have."""


@dataclass(frozen=True)
class Estimate:
    """How often one policy's first choice would have helped. `None` where the log cannot say."""

    choices: int
    effective_sample_size: float
    ips: float | None
    ips_interval: tuple[float, float] | None
    snips: float | None
    snips_interval: tuple[float, float] | None
    unsupported: float
    """Share of the policy's choices that the logging policy never made: of those the log knows nothing."""


def estimate(log: Sequence[Logged], wanted: Sequence[Mapping[str, float]], *, confidence: float) -> Estimate:
    """The estimate for the policy whose probabilities `wanted` gives, one mapping for each entry of the log.

    The intervals are meant to hold the truth in `confidence` (0 to 1, exclusive) of logs, and stay wide where few
    choices speak for the policy. SNIPS: the interval of Wilson (1927) at the effective sample size. IPS: the normal one
    from the spread of its terms, but reaching at least as far as that of SNIPS: a few equal terms have no spread.
    """
    weights, unsupported = [], 0.0
    for entry, policy in zip(log, wanted, strict=True):
        weights.append(policy.get(entry.taken, 0.0) / entry.probabilities[entry.taken])
        unsupported += sum(share for name, share in policy.items() if entry.probabilities.get(name, 0.0) <= 0.0)
    whole, squares = math.fsum(weights), math.fsum(weight * weight for weight in weights)
    if not log or squares == 0:
        return Estimate(len(log), 0.0, None, None, None, None, unsupported / len(log) if log else 0.0)
    size = whole * whole / squares
    paid = [weight * entry.reward for weight, entry in zip(weights, log, strict=True)]
    ips, snips = math.fsum(paid) / len(log), math.fsum(paid) / whole
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = wilson(snips, size, z)
    # The spread of the sum itself, and never less than what so few outcomes leave open about a share.
    spread = math.sqrt(math.fsum((value - ips) ** 2 for value in paid)) / len(log)
    reach = max(z * spread, high - snips, snips - low)
    return Estimate(
        choices=len(log),
        effective_sample_size=size,
        ips=ips,
        ips_interval=(min(1.0, max(0.0, ips - reach)), min(1.0, ips + reach)),
        snips=snips,
        snips_interval=(low, high),
        unsupported=unsupported / len(log),
    )


def wilson(share: float, size: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share seen in `size` (above 0, not necessarily whole) outcomes."""
    middle = (share + z * z / (2 * size)) / (1 + z * z / size)
    reach = z * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size)) / (1 + z * z / size)
    return max(0.0, middle - reach), min(1.0, middle + reach)
