"""Metrics of Prometheus, in a registry of the application's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from council.asking import Answer
from council.routing.cascade import Outcome

# Rules compare with 2 and 30 seconds: infrastructure/monitoring/prometheus/council.rules.yml.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class _Current(Collector):
    """Those of the configuration in force."""

    def __init__(self) -> None:
        self.collectors: tuple[Collector, ...] = ()

    def collect(self) -> Iterable[Metric]:
        """All figures of all of them."""
        for collector in self.collectors:
            yield from collector.collect()


class Metrics:
    """What is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._current = _Current()
        self.registry.register(self._current)
        self._requests = Counter(
            "council_requests", "Requests by route and how they ended.", ("route", "result"), registry=self.registry
        )
        self._turned_away = Counter(
            "council_requests_turned_away",
            "Requests that were refused unread, because too many were under way.",
            registry=self.registry,
        )
        self._seconds = Histogram(
            "council_request_seconds",
            "From a request to its answer, or to the first content of its stream.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._first = Histogram(
            "council_first_content_seconds",
            "From a request to the first content of a stream that is passed on as it comes.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._broken = Counter(
            "council_streams_broken",
            "Streams that a backend broke off after their first content.",
            ("route", "stage"),
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

        self._not_kept = Counter(
            "council_facts_not_kept", "Texts that were told and not kept, by why.", ("because",), registry=self.registry
        )
        self._ratios = Histogram(
            "council_context_ratio",
            "Tokens of a conversation after its compression, as a share of those before.",
            ("route",),
            buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
            registry=self.registry,
        )
        self._reloads = Counter(
            "council_configuration_reloads",
            "Changed configurations, by whether they were taken.",
            ("result",),
            registry=self.registry,
        )
        self._good = Gauge(
            "council_configuration_good",
            "1 while agents.yml as it lies there is in force; 0 while it is not, for what is wrong with it.",
            registry=self.registry,
        )

    def watch(self, *collectors: Collector) -> None:
        """Show what others know of themselves whenever somebody asks."""
        for collector in collectors:
            self.registry.register(collector)

    def show(self, *collectors: Collector) -> None:
        """The same of one configuration, in the place of those of the one before."""
        self._current.collectors = collectors

    def follow(
        self,
        *,
        facts_waiting: Callable[[], float],
        memory_usable: Callable[[], float],
        requests_in_flight: Callable[[], float],
    ) -> None:
        """Show figures that change all the time."""
        for name, text, now in (
            ("council_facts_waiting", "Facts that are not in the store yet.", facts_waiting),
            ("council_memory_usable", "1 while the store of what is remembered does its part.", memory_usable),
            ("council_requests_in_flight", "Requests that are being answered, streams included.", requests_in_flight),
        ):
            Gauge(name, text, registry=self.registry).set_function(now)

    def turned_away(self) -> None:
        """A request that was not read."""
        self._turned_away.inc()

    def refused(self, route: str, code: str) -> None:
        """A request without an answer."""
        self._requests.labels(route, code).inc()

    def answered(self, route: str, seconds: float) -> None:
        """An answer, or the begin of one."""
        self._requests.labels(route, "answered").inc()
        self._seconds.labels(route).observe(seconds)

    def told(self, route: str, outcome: Outcome) -> None:
        """What each stage did for an answer that has ended."""
        if not isinstance(outcome.given, Answer):
            self._first.labels(route).observe(sum(tried.seconds for tried in outcome.tried))
        for tried in outcome.tried:
            result = "accepted" if tried.accepted else "discarded" if tried.backend else "left_out"
            self._stages.labels(route, tried.stage, result).inc()
            if tried.paid.broke:
                self._broken.labels(route, tried.stage).inc()
            if tried.paid.cost:
                self._cost.labels(route, tried.stage).inc(float(tried.paid.cost))
            usage = tried.paid.usage
            if usage is not None:
                self._tokens.labels(route, tried.stage, "input").inc(usage.input_tokens or 0)
                self._tokens.labels(route, tried.stage, "output").inc(usage.output_tokens or 0)

    def not_kept(self, because: str) -> None:
        """Something was told in a conversation, or by itself, and is not remembered."""
        self._not_kept.labels(because).inc()

    def keep_routes(self, names: Set[str]) -> None:
        """End the series of all other routes: nobody will ever count in them again."""
        for family, labels in (
            (self._requests, ("route", "result")),
            (self._seconds, ("route",)),
            (self._first, ("route",)),
            (self._broken, ("route", "stage")),
            (self._stages, ("route", "stage", "result")),
            (self._cost, ("route", "stage")),
            (self._tokens, ("route", "stage", "direction")),
            (self._ratios, ("route",)),
        ):
            samples = [sample for metric in family.collect() for sample in metric.samples]
            for series in {tuple(sample.labels[label] for label in labels) for sample in samples}:
                if series[0] not in names:
                    family.remove(*series)

    def compressed(self, route: str, ratio: float) -> None:
        """A conversation was made shorter."""
        self._ratios.labels(route).observe(ratio)

    def reloaded(self, *, taken: bool) -> None:
        """The configuration had changed."""
        self._reloads.labels("taken" if taken else "refused").inc()

    def configuration_good(self, *, good: bool) -> None:
        """Whether the file that lies there is in force."""
        self._good.set(good)

    def exposition(self) -> tuple[bytes, str]:
        """All figures as Prometheus reads them, and their media type. Blocks: the ledger and the GPUs are asked."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
