"""Learning which remedy is tried first: its settings, and the facts that it learns from. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from uici.model.base import Frozen
from uici.model.verdict import Verdict


class PolicyName(StrEnum):
    """How one of several alternatives is chosen; `uici.planning.policies` has one class for each."""

    THOMPSON = "thompson"
    Q_LEARNING = "q_learning"
    FIXED = "fixed"


class Exploration(StrEnum):
    """How the Q-learner tries what does not look best."""

    EPSILON_GREEDY = "epsilon_greedy"
    SOFTMAX = "softmax"


class Prior(Frozen):
    """What is believed of a remedy before anything was seen: a Beta distribution, as so many imagined outcomes."""

    good: float = Field(default=1.0, ge=0.5, le=100, description="imagined runs in which it helped")
    bad: float = Field(default=1.0, ge=0.5, le=100, description="imagined runs in which it did not")


class QLearningSettings(Frozen):
    """The Q-learner's parameters; only used with `policy: q_learning`, and where policies are compared."""

    alpha: float | None = Field(
        default=0.1, gt=0, le=1, description="weight of the newest outcome; null: the plain average of all"
    )
    initial: float | None = Field(
        default=None, ge=0, le=1, description="value of a remedy without outcomes; null: the mean of its prior"
    )
    exploration: Exploration = Exploration.EPSILON_GREEDY
    epsilon: float = Field(default=0.1, ge=0, le=1, description="share of choices made at random (epsilon_greedy)")
    temperature: float = Field(default=0.1, gt=0, le=10, description="the higher, the more at random (softmax)")


class LearningPolicy(Frozen):
    """Which of several alternatives is tried first. Without alternatives in a strategy it changes nothing."""

    policy: PolicyName = PolicyName.THOMPSON
    half_life_seconds: float = Field(
        default=7_776_000.0, ge=60, le=315_360_000, description="an outcome this old counts half"
    )
    borrowed_weight: float = Field(
        default=4.0, ge=0, le=1000, description="what other finding sets teach counts at most as so many outcomes"
    )
    human_weight: float = Field(
        default=2.0, ge=0, le=100, description="a person's word on a run counts as so many outcomes"
    )
    avoid_approval: bool = Field(
        default=False, description="leave out what needs a person's approval while another alternative does not"
    )
    most_outcomes: int = Field(
        default=2000, ge=1, le=100_000, description="so many outcomes of a strategy are looked at, the newest first"
    )
    q_learning: QLearningSettings = QLearningSettings()


class Word(Frozen):
    """What one person said of a run."""

    actor: str
    good: bool


class Outcome(Frozen):
    """What came of one rung of one run."""

    run_id: str
    rung: int = Field(ge=1)
    at: datetime
    strategy: str
    remedy: str
    findings: str
    """The finding set's key, see `finding_set`."""
    environment: str
    target: str
    verdict: Verdict | None = None
    reward: float | None = None
    """1 for effective, 0 for ineffective; None is not counted, for the reason in `reason`."""
    reason: str = ""
    words: tuple[Word, ...] = ()


class Veto(Frozen):
    """A person's word that a remedy is not to be taken, until somebody lifts it."""

    id: str
    strategy: str
    remedy: str
    environment: str | None = None
    """None: in every environment."""
    target: str | None = None
    """None: on every target."""
    actor: str
    reason: str
    at: datetime

    def covers(self, strategy: str | None, remedy: str | None, environment: str, target: str) -> bool:
        """Whether the remedy of this strategy is forbidden on the target."""
        return (
            (self.strategy, self.remedy) == (strategy, remedy)
            and self.environment in (None, environment)
            and self.target in (None, target)
        )


NOTHING_FOUND = "none"
"""The key of the empty finding set."""


def finding_set(names: Iterable[str]) -> str:
    """The key of a set of findings: its names, each once, sorted, joined by `+`. Values and evidence do not count."""
    return "+".join(sorted(set(names))) or NOTHING_FOUND


class Offered(Frozen):
    """One alternative that could be taken, and what spoke for it."""

    name: str
    prior: Prior
    good: float
    """What spoke for it, faded by age, people's words included; without the prior, with what was borrowed."""
    bad: float
    mean: float
    """The expected chance that it helps."""
    probability: float
    """The probability that the policy takes it first."""
    value: float | None = None
    """What put it at its place: the drawn chance, or the value; None before anything was drawn."""


class Masked(Frozen):
    """One alternative that could not be taken."""

    name: str
    why: str


class Choice(Frozen):
    """How one of several alternatives was chosen. Kept before it is acted on."""

    alternative: str
    findings: str
    policy: PolicyName
    position: int = Field(ge=1)
    """The how-manieth alternative of its group this was in the run."""
    chosen: str
    propensity: float = Field(gt=0, le=1)
    """The probability with which `chosen` was taken."""
    declared: tuple[str, ...]
    """All alternatives that came into question, in the order of writing."""
    candidates: tuple[Offered, ...]
    """Those that could be taken, in the order that was drawn."""
    masked: tuple[Masked, ...] = ()
