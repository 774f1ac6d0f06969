"""What the outcomes so far say of a remedy: counts that fade with age, and the belief that follows. Pure.

docs/learning.md has the formulas, with their sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from uici.model.learning import LearningPolicy, Outcome, Prior
from uici.model.site import Remedy
from uici.planning.beta import Beta

_SEEN_HALF_LIVES = 20
"""An outcome older than so many half-lives weighs less than a millionth."""


@dataclass(frozen=True)
class Seen:
    """One outcome as the learning reads it."""

    at: datetime
    reward: float | None
    words: tuple[bool, ...]
    same_findings: bool


@dataclass(frozen=True)
class Candidate:
    """One of several alternatives, with what was seen of it, oldest first."""

    name: str
    prior: Prior
    seen: tuple[Seen, ...] = ()


@dataclass(frozen=True)
class Tally:
    """Outcomes and people's words, each weighted by its age."""

    good: float = 0.0
    bad: float = 0.0
    human_good: float = 0.0
    human_bad: float = 0.0

    @property
    def for_it(self) -> float:
        """All that speaks for the remedy."""
        return self.good + self.human_good

    @property
    def against_it(self) -> float:
        """All that speaks against the remedy."""
        return self.bad + self.human_bad


@dataclass(frozen=True)
class Belief:
    """What is believed of a candidate under one finding set."""

    prior: Prior
    own: Tally
    """Seen under this finding set."""
    borrowed: Tally
    """Seen under the strategy's other finding sets, reduced to at most `borrowed_weight`."""
    posterior: Beta


def priors_of(remedies: Iterable[Remedy]) -> dict[str, Prior]:
    """What is believed of each remedy before anything was seen, in the given order."""
    return {remedy.name: remedy.prior or Prior() for remedy in remedies}


def candidates_of(priors: Mapping[str, Prior], outcomes: Sequence[Outcome], findings: str) -> tuple[Candidate, ...]:
    """The remedies with what the outcomes say of each, seen from the finding set with the key `findings`."""
    oldest_first = sorted(outcomes, key=lambda outcome: (outcome.at, outcome.run_id, outcome.rung))
    return tuple(
        Candidate(
            name=name,
            prior=prior,
            seen=tuple(
                Seen(
                    at=outcome.at,
                    reward=outcome.reward,
                    words=tuple(word.good for word in outcome.words),
                    same_findings=outcome.findings == findings,
                )
                for outcome in oldest_first
                if outcome.remedy == name
            ),
        )
        for name, prior in priors.items()
    )


def believe(candidate: Candidate, now: datetime, settings: LearningPolicy) -> Belief:
    """The belief in a candidate: its prior, what other finding sets taught up to a limit, and its own outcomes."""
    own = _tally((seen for seen in candidate.seen if seen.same_findings), now, settings)
    others = _tally((seen for seen in candidate.seen if not seen.same_findings), now, settings)
    borrowed = _reduced(others, settings.borrowed_weight)
    return Belief(
        prior=candidate.prior,
        own=own,
        borrowed=borrowed,
        posterior=Beta(
            candidate.prior.good + borrowed.for_it + own.for_it,
            candidate.prior.bad + borrowed.against_it + own.against_it,
        ),
    )


def relevant_since(now: datetime, settings: LearningPolicy) -> datetime:
    """Outcomes before this moment weigh nothing worth reading."""
    return now - timedelta(seconds=_SEEN_HALF_LIVES * settings.half_life_seconds)


def _tally(seen: Iterable[Seen], now: datetime, settings: LearningPolicy) -> Tally:
    good = bad = human_good = human_bad = 0.0
    for item in seen:
        # A clock that was set back must not make an outcome count more than once.
        age = max(0.0, (now - item.at).total_seconds())
        weight = 0.5 ** (age / settings.half_life_seconds)
        if item.reward is not None:
            good += weight * item.reward
            bad += weight * (1 - item.reward)
        said_good = sum(item.words)
        human_good += weight * settings.human_weight * said_good
        human_bad += weight * settings.human_weight * (len(item.words) - said_good)
    return Tally(good, bad, human_good, human_bad)


def _reduced(tally: Tally, most: float) -> Tally:
    whole = tally.for_it + tally.against_it
    if whole <= most:
        return tally
    share = most / whole
    return Tally(tally.good * share, tally.bad * share, tally.human_good * share, tally.human_bad * share)
