"""PASS, FAIL or INCONCLUSIVE: each gate by itself, and all together. Without enough data nothing passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from council.canary.statistics import Pairs, fails, pairs_needed, quantile_bounds, rate_excess
from council.settings import CanaryGates
from uici.model.base import JsonObject

_QUANTILE = 0.95


class Verdict(StrEnum):
    """What a gate says."""

    PASS = "PASS"  # noqa: S105 # a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured of one side."""

    requests: int
    errors: int
    seconds: Sequence[float]
    """Of each request that was answered."""
    cost: float
    """US dollars of all requests together."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What one gate found."""

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None
    limit: float | None = None
    samples: int = 0
    needed: int = 0

    def document(self) -> JsonObject:
        """As people and UICI see it."""
        return {
            "gate": self.name,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "value": self.value,
            "limit": self.limit,
            "samples": self.samples,
            "needed": self.needed,
        }


def judge(main: Seen, canary: Seen, pairs: Pairs, gates: CanaryGates) -> tuple[Verdict, list[Gate]]:
    """All gates. One that fails fails the canary; it passes only when all do."""
    found = [
        _accuracy(pairs, gates),
        _latency(main, canary, gates),
        _errors(main, canary, gates),
        _cost(main, canary, gates),
    ]
    verdicts = {gate.verdict for gate in found}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL, found
    return (Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE), found


def _accuracy(pairs: Pairs, gates: CanaryGates) -> Gate:
    if not pairs.count:
        return Gate("accuracy", Verdict.INCONCLUSIVE, "nothing was replayed", limit=gates.most_drop)
    # Of a canary that never differs nothing can be said either, until it had the chance to.
    discordance = max(pairs.discordance, gates.least_discordance)
    needed = pairs_needed(gates.found_drop, discordance, gates.most_drop, gates.significance, gates.power)
    told = f"{pairs.drop:+.2%} fewer right answers in {pairs.count} pairs"
    if pairs.count < needed:
        verdict, reason = Verdict.INCONCLUSIVE, f"{told}; {needed} are needed to find a drop of {gates.found_drop:.1%}"
    elif fails(pairs, gates.most_drop, gates.significance):
        verdict, reason = Verdict.FAIL, f"{told}; at most {gates.most_drop:.1%} are allowed"
    else:
        verdict, reason = Verdict.PASS, told
    return Gate("accuracy", verdict, reason, pairs.drop, gates.most_drop, pairs.count, needed)


def _latency(main: Seen, canary: Seen, gates: CanaryGates) -> Gate:
    samples = min(len(main.seconds), len(canary.seconds))
    if samples < gates.least_requests:
        return _too_few("latency_p95", samples, gates.most_slower, gates)
    theirs, _, high = quantile_bounds(main.seconds, _QUANTILE, gates.significance)
    ours, low, _ = quantile_bounds(canary.seconds, _QUANTILE, gates.significance)
    ratio = ours / theirs if theirs else float(ours > 0)
    reason = f"p95 is {ours:.3f} s, main's {theirs:.3f} s"
    verdict = Verdict.FAIL if ratio > gates.most_slower and low > high else Verdict.PASS
    return Gate("latency_p95", verdict, reason, ratio, gates.most_slower, samples, gates.least_requests)


def _errors(main: Seen, canary: Seen, gates: CanaryGates) -> Gate:
    samples = min(main.requests, canary.requests)
    if samples < gates.least_requests:
        return _too_few("error_rate", samples, gates.most_errors, gates)
    excess, at_least = rate_excess((main.errors, main.requests), (canary.errors, canary.requests), gates.significance)
    reason = f"{canary.errors} of {canary.requests} failed, of main's {main.errors} of {main.requests}"
    verdict = Verdict.FAIL if excess > gates.most_errors and at_least > 0 else Verdict.PASS
    return Gate("error_rate", verdict, reason, excess, gates.most_errors, samples, gates.least_requests)


def _cost(main: Seen, canary: Seen, gates: CanaryGates) -> Gate:
    samples = min(main.requests, canary.requests)
    if samples < gates.least_requests:
        return _too_few("cost", samples, gates.most_dearer, gates)
    theirs, ours = main.cost / main.requests, canary.cost / canary.requests
    allowed = theirs * gates.most_dearer
    reason = f"${ours:.6f} a request, main's ${theirs:.6f}"
    verdict = Verdict.FAIL if ours > allowed else Verdict.PASS
    ratio = ours / theirs if theirs else None
    return Gate("cost", verdict, reason, ratio, gates.most_dearer, samples, gates.least_requests)


def _too_few(name: str, samples: int, limit: float, gates: CanaryGates) -> Gate:
    reason = f"{samples} requests of the side with fewer; {gates.least_requests} are needed"
    return Gate(name, Verdict.INCONCLUSIVE, reason, None, limit, samples, gates.least_requests)
