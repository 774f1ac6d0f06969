"""How probably a stage answers a question rightly, told from the question alone, before anything is spent.

Words and pairs of words, weighted by how rare they are, and logistic regression: what a router can know of a question
without a model of its own (compare Ong et al., "RouteLLM", 2024, whose routers learn from preferences).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from council.learning.calibrating import Fit, Outcome, fit
from council.settings import LearningSettings

_MOST_TERMS = 50_000
_HELD_OUT = 3
"""Every so-manyth outcome calibrates what the others taught."""


@dataclass(frozen=True, slots=True)
class QuestionModel:
    """A fitted and calibrated predictor. Safe from several threads."""

    vectorizer: Any
    regression: Any
    fit: Fit

    @classmethod
    def fitted(cls, outcomes: Sequence[Outcome], settings: LearningSettings) -> QuestionModel | None:
        """Learn from outcomes whose questions are kept; None while they are too few, or all alike.

        Raises ImportError without scikit-learn.
        """
        asked = [each for each in outcomes if each.question]
        taught = [each for number, each in enumerate(asked) if number % _HELD_OUT]
        if len(asked) < _HELD_OUT * settings.least_outcomes or len({each.right for each in taught}) < 2:
            return None
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), max_features=_MOST_TERMS, sublinear_tf=True)
        regression = LogisticRegression(max_iter=1000)
        texts = vectorizer.fit_transform([each.question for each in taught])
        regression.fit(texts, [int(each.right) for each in taught])
        held_out = asked[::_HELD_OUT]
        raws = regression.predict_proba(vectorizer.transform([each.question for each in held_out]))[:, 1]
        seen = [Outcome(float(raw), each.right) for raw, each in zip(raws, held_out, strict=True)]
        found = fit(seen, settings)
        return None if found is None else cls(vectorizer, regression, found)

    def probability(self, question: str) -> float:
        """How probably the stage answers it rightly."""
        raw = self.regression.predict_proba(self.vectorizer.transform([question]))[0][1]
        return self.fit.calibration.probability(float(raw))
