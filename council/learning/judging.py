"""The judge of a cascade: calibrated where there are outcomes, else as the stage declares."""

from __future__ import annotations

import threading

import structlog

from council.asking import Ask
from council.learning.calibrating import Fit, fit
from council.learning.outcomes import Outcomes
from council.learning.predicting import QuestionModel
from council.settings import LearningSettings, Stage

_log = structlog.get_logger(__name__)


class LearnedJudge:
    """Keeps one calibration for each stage, by name. Safe from several threads."""

    def __init__(self, outcomes: Outcomes, settings: LearningSettings) -> None:
        self._outcomes = outcomes
        self._settings = settings
        self._lock = threading.Lock()
        self._fits: dict[str, Fit] = {}
        self._models: dict[str, QuestionModel] = {}
        self._new: dict[str, int] = {}

    @property
    def fits(self) -> dict[str, Fit]:
        """What is in force, by stage."""
        return dict(self._fits)

    def probability(self, ask: Ask, stage: Stage, raw: float | None) -> float:
        """How probably an answer of `stage` is right."""
        if raw is None:
            return stage.prior
        known = self._fits.get(stage.name)
        return raw if known is None else known.calibration.probability(raw)

    def expected(self, ask: Ask, stage: Stage) -> float | None:
        """How probably `stage` would answer rightly, before it is asked; None where nobody knows."""
        model = self._models.get(stage.name)
        return None if model is None else model.probability(ask.question)

    def learn(self, stage: str) -> Fit | None:
        """Take up all outcomes of a stage. What is in force then; None while there are too few."""
        outcomes = self._outcomes.of(stage, self._settings.most_outcomes)
        found, model = fit(outcomes, self._settings), QuestionModel.fitted(outcomes, self._settings)
        with self._lock:
            self._new[stage] = 0
            if found is None:
                self._fits.pop(stage, None)
            else:
                self._fits[stage] = found
            if model is None:
                self._models.pop(stage, None)
            else:
                self._models[stage] = model
        if found is not None:
            _log.info("calibrated", stage=stage, outcomes=found.outcomes, error=round(found.error, 4))
        return found

    def told(self, stage: str) -> bool:
        """Note one more outcome. Whether it is time to learn anew."""
        with self._lock:
            self._new[stage] = self._new.get(stage, 0) + 1
            return self._new[stage] >= self._settings.learn_every
