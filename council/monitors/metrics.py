"""Metrics of Prometheus, in a registry of the application's own."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from council.learning.judging import LearnedJudge
from council.memory.facts import Facts
from council.routing.cascade import Outcome

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class _Calibrations(Collector):
    """How far off each stage's calibration was on outcomes that it had not seen; absent before there is one."""

    def __init__(self, judge: LearnedJudge) -> None:
        self._judge = judge

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One figure for each stage that is calibrated."""
        errors = GaugeMetricFamily(
            "council_calibration_error", "Expected calibration error over held-out outcomes.", labels=["stage"]
        )
        for stage, fit in self._judge.fits.items():
            errors.add_metric([stage], fit.error)
        yield errors


class Metrics:
    """What is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "council_requests", "Requests by route and how they ended.", ("route", "result"), registry=self.registry
        )
        self._seconds = Histogram(
            "council_request_seconds",
            "From a request to its answer, or to the first content of its stream.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._stages = Counter(
            "council_stages",
            "Stages asked, by what became of their answer.",
            ("route", "stage", "result"),
            registry=self.registry,
        )
        self._cost = Counter(
            "council_cost_usd",
            "US dollars spent, as they count against budgets.",
            ("route", "stage"),
            registry=self.registry,
        )
        self._tokens = Counter(
            "council_tokens",
            "Tokens as backends counted them.",
            ("route", "stage", "direction"),
            registry=self.registry,
        )

    def watch(self, facts: Facts, judge: LearnedJudge) -> None:
        """Show what others know of themselves: facts that wait, and how far off each calibration is."""
        self.registry.register(_Calibrations(judge))
        waiting = Gauge("council_facts_waiting", "Facts that are not on the disk yet.", registry=self.registry)
        waiting.set_function(lambda: facts.waiting)

    def refused(self, route: str, code: str) -> None:
        """A request without an answer."""
        self._requests.labels(route, code).inc()

    def answered(self, route: str, seconds: float) -> None:
        """An answer, or the begin of one."""
        self._requests.labels(route, "answered").inc()
        self._seconds.labels(route).observe(seconds)

    def told(self, route: str, outcome: Outcome) -> None:
        """What each stage did for an answer that has ended."""
        for tried in outcome.tried:
            result = "accepted" if tried.accepted else "discarded" if tried.backend else "left_out"
            self._stages.labels(route, tried.stage, result).inc()
            if tried.paid.cost:
                self._cost.labels(route, tried.stage).inc(float(tried.paid.cost))
            usage = tried.paid.usage
            if usage is not None:
                self._tokens.labels(route, tried.stage, "input").inc(usage.input_tokens or 0)
                self._tokens.labels(route, tried.stage, "output").inc(usage.output_tokens or 0)

    def exposition(self) -> tuple[bytes, str]:
        """All figures as Prometheus reads them, and their media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
