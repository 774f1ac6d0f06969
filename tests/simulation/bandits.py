"""Five remedies of which each helps with a fixed chance: how much is lost until the best one is found.

The policies' own code draws and learns (`drawn_from`, `QLearning.drawn`, `QLearning.moved`); only the counting is done
here, as with neither decay nor other finding sets a belief is its prior plus its counts.

`python -m tests.simulation.bandits` prints the tables of docs/learning.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from uici.model.learning import Exploration, LearningPolicy, Prior, QLearningSettings
from uici.planning.beta import Beta
from uici.planning.policies import QLearning, drawn_from

SPREAD = (0.1, 0.3, 0.5, 0.7, 0.9)
CLOSE = (0.5, 0.55, 0.6, 0.65, 0.7)


@dataclass(frozen=True)
class Course:
    """What became of one simulated course of choices."""

    regret: float
    """Expected successes lost against always taking the best arm."""
    most_played: int
    most_promising: int


Learner = Callable[[Sequence[float], int, random.Random], Course]


def thompson(arms: Sequence[float], trials: int, chance: random.Random) -> Course:
    """Thompson sampling from the prior Beta(1, 1)."""
    good, bad = [1] * len(arms), [1] * len(arms)
    plays, regret = [0] * len(arms), 0.0
    for _ in range(trials):
        beliefs = {str(arm): Beta(good[arm], bad[arm]) for arm in range(len(arms))}
        arm = int(drawn_from(beliefs, chance)[0].name)
        helped = chance.random() < arms[arm]
        good[arm] += helped
        bad[arm] += not helped
        plays[arm] += 1
        regret += max(arms) - arms[arm]
    means = [g / (g + b) for g, b in zip(good, bad, strict=True)]
    return Course(regret, _highest(plays), _highest(means))


def q_learner(settings: QLearningSettings) -> Learner:
    """A Q-learner with these parameters."""
    learning = QLearning(LearningPolicy(q_learning=settings))

    def learner(arms: Sequence[float], trials: int, chance: random.Random) -> Course:
        values = {str(arm): learning.start(Prior()) for arm in range(len(arms))}
        weights = dict.fromkeys(values, 0.0)
        plays, regret = [0] * len(arms), 0.0
        for _ in range(trials):
            name = learning.drawn(values, chance)[0].name
            arm = int(name)
            reward = float(chance.random() < arms[arm])
            values[name], weights[name] = learning.moved(values[name], weights[name], reward)
            plays[arm] += 1
            regret += max(arms) - arms[arm]
        return Course(regret, _highest(plays), _highest(list(values.values())))

    return learner


def courses(learner: Learner, arms: Sequence[float], trials: int, seeds: Iterable[object]) -> list[Course]:
    """One course for each seed."""
    return [learner(arms, trials, random.Random(str(seed))) for seed in seeds]


EXPLORING = [
    QLearningSettings(alpha=alpha, epsilon=epsilon) for alpha in (None, 0.05, 0.1, 0.2) for epsilon in (0.05, 0.1, 0.2)
]
"""Those that go on trying: at least one choice in twenty is made at random, as what helps may change."""
ANY = [
    *EXPLORING,
    *(QLearningSettings(alpha=alpha, epsilon=epsilon) for alpha in (None, 0.1, 0.2) for epsilon in (0.0, 0.01, 0.02)),
    *(
        QLearningSettings(alpha=alpha, exploration=Exploration.SOFTMAX, temperature=temperature)
        for alpha in (None, 0.1, 0.2)
        for temperature in (0.03, 0.05, 0.1)
    ),
]
"""Also those that all but stop trying, and those that try in proportion to the values."""


def tuned(settings: Iterable[QLearningSettings], arms: Sequence[float], trials: int, seeds: int) -> QLearningSettings:
    """The parameters of the least mean regret on this very problem; its seeds are used for nothing else."""
    found = [
        (fmean(course.regret for course in courses(q_learner(each), arms, trials, range(10_000, 10_000 + seeds))), each)
        for each in settings
    ]
    return min(found, key=lambda pair: pair[0])[1]


def _highest(values: Sequence[float]) -> int:
    return values.index(max(values))


def _line(what: str, arms: Sequence[float], trials: int, q: QLearningSettings, seeds: int) -> str:
    ours = courses(thompson, arms, trials, [f"thompson {seed}" for seed in range(seeds)])
    theirs = courses(q_learner(q), arms, trials, [f"q {seed}" for seed in range(seeds)])
    less = fmean(a.regret < b.regret for a, b in zip(ours, theirs, strict=True))
    best = len(arms) - 1
    rule = f"temperature {q.temperature}" if q.exploration is Exploration.SOFTMAX else f"epsilon {q.epsilon}"
    cells = [f"{what:<24}", f"{trials:>6}", f"alpha {q.alpha or 'mean'}, {rule}".ljust(30)]
    for found in (ours, theirs):
        worst = sorted(course.regret for course in found)[int(0.9 * len(found))]
        share = fmean(course.most_played == best for course in found)
        cells.append(f"{fmean(course.regret for course in found):7.1f} {worst:7.1f} {share:6.0%}")
    return "  ".join([*cells, f"{less:8.0%}"])


def table(seeds: int = 200, tuning: int = 40) -> Iterable[str]:
    """The figures, line by line."""
    yield f"{'':66}{'Thompson':24}{'Q-learner':24}Thompson"
    yield (
        f"{'arms':24}  trials  {'parameters of the Q-learner':30}"
        + f"  {'mean':>7}  {'worst':>6}  {'best':>5}" * 2
        + "  has less"
    )
    for what, arms in (("0.1 0.3 0.5 0.7 0.9", SPREAD), ("0.5 0.55 0.6 0.65 0.7", CLOSE)):
        for trials, longest in ((50, 200), (500, 100), (2000, 40)):
            for settings in (EXPLORING, ANY):
                q = tuned(settings, arms, trials, max(10, tuning * 50 // trials))
                yield _line(what, arms, trials, q, min(seeds, longest))


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)  # noqa: T201 - this is what the command is for
