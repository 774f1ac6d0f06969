"""Policies: which of several alternatives is tried first. Pure: all chance comes from a generator that is given."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from uici.model.learning import Exploration, LearningPolicy, PolicyName, Prior
from uici.planning.beta import Beta, first_probabilities
from uici.planning.evidence import Candidate, believe


@dataclass(frozen=True)
class Drawn:
    """One candidate in the order in which the alternatives are to be tried, with the value that put it there."""

    name: str
    value: float


class Policy(Protocol):
    """A way to choose. `order` and `probabilities` agree: the latter is how often each candidate is drawn first."""

    def order(self, candidates: Sequence[Candidate], now: datetime, chance: random.Random) -> tuple[Drawn, ...]:
        """The candidates (at least one), best first."""
        ...

    def probabilities(self, candidates: Sequence[Candidate], now: datetime) -> Mapping[str, float]:
        """For each candidate the probability to be first."""
        ...


def drawn_from(posteriors: Mapping[str, Beta], chance: random.Random) -> tuple[Drawn, ...]:
    """One draw of each belief, the highest first."""
    drawn = [Drawn(name, chance.betavariate(belief.good, belief.bad)) for name, belief in posteriors.items()]
    return tuple(sorted(drawn, key=lambda item: -item.value))


class Thompson:
    """Thompson sampling: draw a chance of success for each candidate from what is believed of it; the highest is first.

    Thompson (1933); Chapelle and Li (2011).
    """

    def __init__(self, settings: LearningPolicy) -> None:
        self._settings = settings

    def order(self, candidates: Sequence[Candidate], now: datetime, chance: random.Random) -> tuple[Drawn, ...]:
        """The candidates by their drawn chances."""
        return drawn_from({item.name: believe(item, now, self._settings).posterior for item in candidates}, chance)

    def probabilities(self, candidates: Sequence[Candidate], now: datetime) -> Mapping[str, float]:
        """By integrating over the beliefs."""
        beliefs = [believe(candidate, now, self._settings).posterior for candidate in candidates]
        names = [candidate.name for candidate in candidates]
        return dict(zip(names, first_probabilities(beliefs), strict=True))


class QLearning:
    """One-step Q-learning: a value for each candidate and finding set, moved towards each outcome by `alpha`.

    Watkins (1989), with a single step: a remedy ends its choice. What other finding sets taught is not used, and age
    counts only by order. A person's word moves the value as `human_weight` outcomes would.
    """

    def __init__(self, settings: LearningPolicy) -> None:
        self._settings = settings
        self._learning = settings.q_learning

    def order(self, candidates: Sequence[Candidate], now: datetime, chance: random.Random) -> tuple[Drawn, ...]:
        """The drawn one first, the others by their values."""
        return self.drawn({candidate.name: self.value(candidate) for candidate in candidates}, chance)

    def probabilities(self, candidates: Sequence[Candidate], now: datetime) -> Mapping[str, float]:
        """By the rule of exploration."""
        return self.shares({candidate.name: self.value(candidate) for candidate in candidates})

    def value(self, candidate: Candidate) -> float:
        """The candidate's value now."""
        value, weight = self.start(candidate.prior), 0.0
        for seen in candidate.seen:
            if seen.same_findings:
                steps = [] if seen.reward is None else [(seen.reward, 1.0)]
                steps += [(1.0 if good else 0.0, self._settings.human_weight) for good in seen.words]
                for reward, times in steps:
                    value, weight = self.moved(value, weight, reward, times)
        return value

    def start(self, prior: Prior) -> float:
        """The value of a candidate without outcomes."""
        initial = self._learning.initial
        return prior.good / (prior.good + prior.bad) if initial is None else initial

    def moved(self, value: float, weight: float, reward: float, times: float = 1.0) -> tuple[float, float]:
        """The value after a reward that counts `times`, and the weight of all rewards so far."""
        if times <= 0:
            return value, weight
        weight += times
        rate = times / weight if self._learning.alpha is None else 1 - (1 - self._learning.alpha) ** times
        return value + rate * (reward - value), weight

    def drawn(self, values: Mapping[str, float], chance: random.Random) -> tuple[Drawn, ...]:
        """One drawn by the rule of exploration, then the others by their values."""
        shares = self.shares(values)
        first = chance.choices(list(values), weights=[shares[name] for name in values])[0]
        ordered = sorted(values, key=lambda name: (name != first, -values[name]))
        return tuple(Drawn(name, values[name]) for name in ordered)

    def shares(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """For each value the probability to be first; equal values share."""
        learning, highest = self._learning, max(values.values())
        if learning.exploration is Exploration.SOFTMAX:
            powers = {name: math.exp((value - highest) / learning.temperature) for name, value in values.items()}
            whole = sum(powers.values())
            return {name: power / whole for name, power in powers.items()}
        best = [name for name, value in values.items() if value == highest]
        return {
            name: learning.epsilon / len(values) + ((1 - learning.epsilon) / len(best) if name in best else 0.0)
            for name in values
        }


class Fixed:
    """The declared order, whatever was seen."""

    def order(self, candidates: Sequence[Candidate], now: datetime, chance: random.Random) -> tuple[Drawn, ...]:
        """As declared."""
        return tuple(Drawn(candidate.name, float(-place)) for place, candidate in enumerate(candidates, start=1))

    def probabilities(self, candidates: Sequence[Candidate], now: datetime) -> Mapping[str, float]:
        """The first one, for sure."""
        return {candidate.name: 1.0 if place == 0 else 0.0 for place, candidate in enumerate(candidates)}


def policy_of(settings: LearningPolicy, name: PolicyName | None = None) -> Policy:
    """The policy that the settings ask for, or the one of this name."""
    match name or settings.policy:
        case PolicyName.THOMPSON:
            return Thompson(settings)
        case PolicyName.Q_LEARNING:
            return QLearning(settings)
        case PolicyName.FIXED:
            return Fixed()
