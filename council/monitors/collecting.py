"""What others know of themselves, asked when somebody looks: money, backends, the canary, calibrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from decimal import Decimal

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from council.budget.ledger import Ledger, Spending
from council.canary.canary import Canary
from council.canary.judging import Verdict
from council.learning.judging import LearnedJudge
from council.routing.pool import Member
from council.settings import Budget

_log = structlog.get_logger(__name__)


class Calibrations(Collector):
    """How far off each stage's calibration was on outcomes that it had not seen; absent before there is one."""

    def __init__(self, judge: LearnedJudge) -> None:
        self._judge = judge

    def collect(self) -> Iterable[Metric]:
        """One figure for each stage that is calibrated."""
        errors = GaugeMetricFamily(
            "council_calibration_error", "Expected calibration error over held-out outcomes.", labels=["stage"]
        )
        for stage, fit in self._judge.fits.items():
            errors.add_metric([stage], fit.error)
        yield errors


class Budgets(Collector):
    """Each limit of today with what is spent and held of it. Without a legible ledger there are no amounts."""

    def __init__(self, ledger: Ledger, budget: Budget) -> None:
        self._ledger = ledger
        self._limits = list(limits(budget))

    def collect(self) -> Iterable[Metric]:
        """All processes that share the state show the same amounts; refusals are those of this process."""
        readable = GaugeMetricFamily("council_budget_readable", "1 while the ledger of what is spent can be read.")
        try:
            spending = self._ledger.spending()
        except sqlite3.Error as error:
            _log.error("budget_unreadable", error=str(error))
            readable.add_metric([], 0)
        else:
            readable.add_metric([], 1)
            yield from self._amounts(spending)
        yield readable
        refused = CounterMetricFamily(
            "council_budget_refusals", "Requests for which a limit had too little left.", labels=_LABELS
        )
        refusals = self._ledger.refusals()
        for scope, name, _ in self._limits:
            # From 0 on: of a series that begins with 1 Prometheus knows no increase.
            refused.add_metric([scope, name], refusals.get(f"{scope} {name}".rstrip(), 0))
        yield refused

    def _amounts(self, spending: Mapping[tuple[str, str, str], Spending]) -> Iterable[Metric]:
        most = GaugeMetricFamily("council_budget_limit_usd", "US dollars that a day (UTC) may cost.", labels=_LABELS)
        spent = GaugeMetricFamily("council_budget_spent_usd", "US dollars that today cost so far.", labels=_LABELS)
        held = GaugeMetricFamily(
            "council_budget_reserved_usd", "US dollars held for requests that are under way.", labels=_LABELS
        )
        for scope, name, limit in self._limits:
            chosen = meant(spending, scope, name)
            most.add_metric([scope, name], float(limit))
            spent.add_metric([scope, name], float(sum(each.spent for each in chosen)))
            held.add_metric([scope, name], float(sum(each.reserved for each in chosen)))
        return most, spent, held


class Backends(Collector):
    """Which backends are left alone."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members

    def collect(self) -> Iterable[Metric]:
        """One figure for each backend."""
        alone = GaugeMetricFamily(
            "council_backend_left_alone", "1 while a backend is not asked, after failures in a row.", labels=["backend"]
        )
        for name, member in self._members.items():
            alone.add_metric([name], member.breaker.open)
        yield alone


class CanaryFigures(Collector):
    """The canary's weight, its share, and whether its gates fail."""

    def __init__(self, canary: Canary) -> None:
        self._canary = canary

    def collect(self) -> Iterable[Metric]:
        """Its share is absent before any request."""
        try:
            # A process that gets no requests does not look by itself.
            self._canary.read()
        except sqlite3.Error as error:
            _log.error("canary_unreadable", error=str(error))
            return
        backend = self._canary.settings.backend
        for name, text, value in (
            ("weight", "The share of requests that the canary should get.", self._canary.weight),
            ("share", "The share of requests that it got since its weight was set.", self._canary.share),
            ("failing", "1 while one of its gates fails.", self._canary.judged()[0] is Verdict.FAIL),
        ):
            figure = GaugeMetricFamily(f"council_canary_{name}", text, labels=["backend"])
            if value is not None:
                figure.add_metric([backend], value)
            yield figure


_LABELS = ["scope", "whose"]
_PLACES = {"route": 0, "tenant": 1, "pool": 2}
"""Where the ledger's keys say it."""


def meant(spending: Mapping[tuple[str, str, str], Spending], scope: str, name: str) -> list[Spending]:
    """What counts against a limit."""
    return [each for key, each in spending.items() if scope == "day" or key[_PLACES[scope]] == name]


def limits(budget: Budget) -> Iterable[tuple[str, str, Decimal]]:
    """The limits of a day: what they are for, its name, and US dollars."""
    if budget.day is not None:
        yield "day", "", budget.day
    for scope, limits in (("route", budget.routes), ("tenant", budget.tenants), ("pool", budget.pools)):
        for name, limit in limits.items():
            yield scope, name, limit
