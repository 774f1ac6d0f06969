"""Metrics, counted from the tables at each scrape: so they survive restarts and cannot drift from the truth.

What no table has (how long a question to a model took) each process counts since its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import func, select

from uici.runs.configuration import Configuration
from uici.runs.consulting import COUNT_WAITING
from uici.runs.questions import Questions
from uici.store.database import Store
from uici.store.schema import alerts, deliveries, freezes, heartbeats, incidents, runs


class _Counts:
    def __init__(self, store: Store, now: datetime, *, waiting: int, refused: int, active: int, ready: bool) -> None:
        self._store = store
        self._now = now
        self._waiting = waiting
        self._refused = refused
        self._active = active
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("uici_intake_waiting", "Notifications that wait for their commit.", value=self._waiting)
        yield CounterMetricFamily(
            "uici_intake_refused", "Notifications answered with 503 since the start.", value=self._refused
        )
        yield GaugeMetricFamily(
            "uici_ready", "1 while alerts are accepted and runs are started.", value=1 if self._ready else 0
        )
        yield GaugeMetricFamily("uici_runs_active", "Parts of runs at work in this process.", value=self._active)
        with self._store.read() as connection:
            for name, help_, column, label in (
                ("uici_alerts", "Alerts by outcome; `open` while undecided.", alerts.c.outcome, "outcome"),
                ("uici_incidents", "Incidents by state.", incidents.c.state, "state"),
                ("uici_runs", "Runs by state.", runs.c.state, "state"),
                (
                    "uici_outcomes",
                    "Runs by outcome; `none` while under way, or asked for by a human.",
                    runs.c.outcome,
                    "outcome",
                ),
                ("uici_verdicts", "Runs by verdict; `none` where nothing was judged.", runs.c.verdict, "verdict"),
            ):
                family = GaugeMetricFamily(name, help_, labels=[label])
                missing = "open" if name == "uici_alerts" else "none"
                for value, count in connection.execute(select(column, func.count()).group_by(column)):
                    family.add_metric([value or missing], count)
                yield family
            messages = GaugeMetricFamily(
                "uici_messages", "Messages to people by state and channel.", labels=["state", "channel"]
            )
            states = select(deliveries.c.state, deliveries.c.channel, func.count())
            for state, channel, count in connection.execute(states.group_by("state", "channel")):
                messages.add_metric([state, channel], count)
            yield messages
            # Of what nobody waits for on purpose: people may take their time to decide.
            oldest = connection.execute(
                select(func.min(runs.c.created_at)).where(runs.c.state != "ended", runs.c.waiting_for != "approval")
            ).scalar_one_or_none()
            missing_beats = connection.execute(
                select(func.count()).select_from(heartbeats).where(heartbeats.c.missing_since.is_not(None))
            ).scalar_one()
            asking = connection.execute(COUNT_WAITING).scalar_one()
            frozen = connection.execute(select(freezes.c.frozen).where(freezes.c.id == 1)).scalar_one_or_none()
        age = max(0.0, (self._now - oldest).total_seconds()) if oldest is not None else 0.0
        yield GaugeMetricFamily("uici_oldest_run_seconds", "Age of the oldest run that has not ended.", value=age)
        yield GaugeMetricFamily("uici_heartbeats_missing", "Heartbeats that stopped coming.", value=missing_beats)
        yield GaugeMetricFamily(
            "uici_council_questions_waiting", "Runs that wait for their turn to ask a model, or for it.", value=asking
        )
        yield GaugeMetricFamily("uici_frozen", "1 while everything is frozen.", value=1 if frozen else 0)


def render(
    store: Store,
    now: datetime,
    *,
    waiting: int,
    refused: int,
    active: int,
    ready: bool,
    configuration: Configuration,
    questions: Questions,
) -> bytes:
    """All metrics of UICI in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(store, now, waiting=waiting, refused=refused, active=active, ready=ready))
    registry.register(configuration)
    registry.register(questions)
    return generate_latest(registry)
