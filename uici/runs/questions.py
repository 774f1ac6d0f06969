"""Questions to a model in this process: how many at once, and what became of them, counted for Prometheus.

Counted since the start of this process; those of several that share a state are added up where they are read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric

from uici.model.plan import Authored

SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Edges of the time that a question takes. A rule about it has to name one of them, and not the last."""


class AnswerKind(StrEnum):
    """What became of a question."""

    LOOK = "look"
    ACT = "act"
    HAND_OVER = "hand_over"
    UNUSABLE = "unusable"
    """It was no decision in the closed vocabulary."""
    SILENT = "silent"
    """None came in time; it may be asked again."""
    UNASKABLE = "unaskable"
    """Asking again does not help: a wrong key, URL or model."""


class Fate(StrEnum):
    """What became of a plan that a model wrote."""

    ASKED = "asked"
    """People were asked; those that they allow are `allowed`, too."""
    ALLOWED = "allowed"
    REFUSED = "refused"
    """By a guard, by people, or because nobody answered."""
    OBSERVED = "observed"
    """Only told of, or proposed: the autonomy allows no more."""


class Questions:
    """Turns for asking, and the figures. Thread-safe."""

    def __init__(self, at_once: int = 4) -> None:
        self._turns = threading.Semaphore(at_once)
        self._registry = CollectorRegistry(auto_describe=False)
        self._answers = Counter(
            "uici_council_questions", "Questions to a model, by what came back.", ["answer"], registry=self._registry
        )
        self._seconds = Histogram(
            "uici_council_question_seconds",
            "Time from a question to its answer, or to giving it up.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "uici_council_tokens", "Tokens that questions and answers had.", ["part"], registry=self._registry
        )
        self._cost = Counter(
            "uici_council_cost_usd", "What answers cost, where the server says it.", registry=self._registry
        )
        self._plans = Counter(
            "uici_council_plans", "Plans that a model wrote, by what became of them.", ["fate"], registry=self._registry
        )
        self._drafts = Counter(
            "uici_council_drafts", "Drafts of verbs that a model found missing.", registry=self._registry
        )
        self._fallbacks = Counter(
            "uici_council_fallbacks", "Runs that went on by a fallback strategy.", registry=self._registry
        )
        self._under_way = Gauge(
            "uici_council_questions_under_way", "Questions that are being answered.", registry=self._registry
        )
        # What has not happened yet is zero: a counter that begins with one has no increase.
        for answer in AnswerKind:
            self._answers.labels(answer)
        for part in ("read", "written"):
            self._tokens.labels(part)
        for fate in Fate:
            self._plans.labels(fate)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether there is a turn to ask now; it is taken until the block ends."""
        taken = self._turns.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._turns.release()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While a question is under way."""
        with self._under_way.track_inprogress(), self._seconds.time():
            yield

    def answered(self, answer: AnswerKind, authored: Authored | None = None) -> None:
        """Count a question, with what its answer used."""
        self._answers.labels(answer).inc()
        if authored is not None:
            self._tokens.labels("read").inc(authored.read or 0)
            self._tokens.labels("written").inc(authored.written or 0)
            self._cost.inc(max(0.0, authored.cost_usd or 0.0))

    def planned(self, fate: Fate) -> None:
        """Count what became of a plan."""
        self._plans.labels(fate).inc()

    def drafted(self) -> None:
        """Count a draft that was written."""
        self._drafts.inc()

    def fell_back(self) -> None:
        """Count a run that goes on by a fallback strategy."""
        self._fallbacks.inc()

    def collect(self) -> Iterator[Metric]:
        """Metrics, as `prometheus_client` collects them."""
        return iter(self._registry.collect())
