"""Heartbeats: their absence is an incident, once, and nothing but their absence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import alert, running, send, site
from tests.waiting import until
from uici.bootstrap import Application
from uici.intake.heartbeats import HeartbeatWatch
from uici.model.alert import Alert, Notification
from uici.model.base import JsonObject
from uici.store.schema import alerts, heartbeats

WITHIN = 60.0
STRATEGIES = """
strategies:
  pulse:
    match: ['alertname="Watchdog"']
    action: heartbeat
    within_seconds: 60
    expected: EXPECTED
  pulse_missing:
    match: ['alertname="HeartbeatMissing"']
    diagnose: [get_service_status]
    remedies:
      - {name: restart, steps: [restart_service], verify: {within: 1, stable_for: 0.1, interval: 0.1}}
"""


BY_A_LABEL = "by a label"


class Clocks:
    """The wall clock and the monotonic one, both set by hand."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 3, 1, tzinfo=UTC)
        self.monotonic = 1000.0

    def now(self) -> datetime:
        return self.wall

    def steady(self) -> float:
        return self.monotonic


class Watched:
    """A watch that only looks when it is told to, over a store and an intake that are real."""

    def __init__(self, application: Application, clocks: Clocks) -> None:
        self.application = application
        self.clocks = clocks
        self.watch = self.fresh()

    def fresh(self) -> HeartbeatWatch:
        """As after a restart."""
        return HeartbeatWatch(
            self.application.store, self.clocks, lambda: self.application.site, self._deliver, self.clocks.steady
        )

    def _deliver(self, notification: Notification) -> None:
        self.application.control.submit(notification, "uici").result(30)

    def beat(self, *, labels: dict[str, str] | None = None) -> None:
        send(self.application, watchdog(**(labels or {})))

    def pass_(self, seconds: float, *, step: float = 1.0) -> None:
        """Time passes, with a look at each step."""
        for _ in range(round(seconds / step)):
            self.clocks.wall += timedelta(seconds=step)
            self.clocks.monotonic += step
            self.watch.look()

    def paced(self) -> None:
        """It beats twice, in time."""
        self.watch.look()
        self.beat()
        self.pass_(10)
        self.beat()
        self.pass_(1)

    def missing(self) -> list[JsonObject]:
        """The alerts of absence, oldest first."""
        with self.application.store.read() as connection:
            rows = connection.execute(select(alerts).order_by(alerts.c.first_seen)).all()
        return [dict(row._mapping) for row in rows if row.labels["alertname"] == "HeartbeatMissing"]


def watchdog(**labels: str) -> Alert:
    made = alert("alertmanager", "Watchdog")
    return dataclasses.replace(made, fingerprint=f"watchdog-{labels}", labels={**made.labels, **labels})


@pytest.fixture
def watched(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Watched]:
    expected = getattr(request, "param", "after_first")
    strategies = STRATEGIES if expected != BY_A_LABEL else STRATEGIES.replace('alertname="Watchdog"', 'kind="pulse"')
    strategies = strategies.replace("EXPECTED", "always" if expected == BY_A_LABEL else expected)
    config = site(tmp_path / "site", "alertmanager", strategies=strategies)
    clocks = Clocks()
    with running(config, World()) as application:
        application._heartbeats.stop(30)  # only the watch under test looks
        yield Watched(application, clocks)


def test_an_absence_is_one_incident_and_the_return_ends_it(watched: Watched) -> None:
    watched.paced()
    watched.pass_(WITHIN)
    assert watched.missing() == []
    watched.pass_(2)
    (absence,) = watched.missing()
    assert absence["labels"] == {
        "alertname": "HeartbeatMissing", "heartbeat": "pulse", "severity": "critical", "uici_target": "alertmanager",
    }  # fmt: skip
    assert watched.application.control.incident(absence["incident_id"])["target"] == "alertmanager"
    watched.pass_(5 * WITHIN)
    assert len(watched.missing()) == 1
    watched.beat()
    watched.pass_(1)
    (absence,) = watched.missing()
    assert (absence["status"], absence["deliveries"]) == ("resolved", 2)
    watched.pass_(WITHIN + 2)
    assert [item["status"] for item in watched.missing()] == ["resolved", "firing"]


def test_the_absence_survives_a_restart_at_any_moment(watched: Watched) -> None:
    watched.paced()
    watched.pass_(WITHIN + 2)
    (first,) = watched.missing()
    watched.watch = watched.fresh()
    watched.pass_(3 * WITHIN)
    assert [item["starts_at"] for item in watched.missing()] == [first["starts_at"]]
    # Killed after the row was written and before the alert was delivered: it is delivered by the next process.
    with watched.application.store.write() as connection:
        connection.execute(alerts.delete().where(alerts.c.starts_at == first["starts_at"]))
    watched.watch = watched.fresh()
    watched.pass_(1)
    assert [item["starts_at"] for item in watched.missing()] == [first["starts_at"]]
    # It comes back while nobody looks.
    watched.beat()
    watched.watch = watched.fresh()
    watched.pass_(1)
    assert [item["status"] for item in watched.missing()] == ["resolved"]


def test_after_a_restart_the_whole_time_is_given_again(watched: Watched) -> None:
    watched.paced()
    watched.pass_(WITHIN - 5)
    watched.clocks.wall += timedelta(days=3)
    watched.watch = watched.fresh()
    watched.pass_(WITHIN)
    assert watched.missing() == []
    watched.pass_(3)
    assert len(watched.missing()) == 1


def _clock_forward(watched: Watched) -> None:
    watched.clocks.wall += timedelta(days=2)
    watched.pass_(2)


def _clock_back(watched: Watched) -> None:
    watched.clocks.wall -= timedelta(days=2)
    watched.pass_(2)


def _slept(watched: Watched) -> None:
    """Nobody looked for an hour: the machine slept, or the process was stopped."""
    watched.pass_(3600, step=3600)


@pytest.mark.parametrize("jump", [_clock_forward, _clock_back, _slept])
def test_what_only_looks_like_an_absence_is_none(watched: Watched, jump: Callable[[Watched], None]) -> None:
    watched.paced()
    jump(watched)
    watched.pass_(10)
    assert watched.missing() == []
    watched.pass_(WITHIN)
    assert len(watched.missing()) == 1


def test_what_was_never_set_up_as_a_heartbeat_is_not_missed(watched: Watched) -> None:
    """Alertmanager's default is to repeat every four hours; and two peers deliver one beat almost at once."""
    watched.watch.look()
    for _ in range(3):
        watched.beat()
        watched.pass_(1)
        watched.beat()
        watched.pass_(4 * WITHIN)
    assert watched.missing() == []


@pytest.mark.parametrize("watched", ["always"], indirect=True)
def test_one_that_is_always_expected_is_missed_without_ever_having_come(watched: Watched) -> None:
    watched.pass_(WITHIN)
    assert watched.missing() == []
    watched.pass_(3)
    (absence,) = watched.missing()
    assert absence["labels"] == {"alertname": "HeartbeatMissing", "heartbeat": "pulse", "severity": "critical"}
    watched.beat()
    watched.pass_(1)
    (absence,) = watched.missing()
    assert absence["status"] == "resolved"
    watched.pass_(WITHIN + 2)
    assert [item["labels"].get("uici_target") for item in watched.missing()] == [None, "alertmanager"]


def test_each_source_beats_for_itself(watched: Watched) -> None:
    watched.watch.look()
    for _ in range(2):
        watched.beat(labels={"prometheus": "a"})
        watched.beat(labels={"prometheus": "b"})
        watched.pass_(10)
    for _ in range(8):
        watched.beat(labels={"prometheus": "a"})
        watched.pass_(10)
    assert [item["labels"]["prometheus"] for item in watched.missing()] == ["b"]


def test_a_strategy_that_is_gone_misses_nothing(watched: Watched) -> None:
    watched.paced()
    watched.pass_(WITHIN + 2)
    site_now = watched.application.site
    without = {name: item for name, item in site_now.strategies.items() if item.action != "heartbeat"}
    gone = HeartbeatWatch(
        watched.application.store, watched.clocks, lambda: site_now.model_copy(update={"strategies": without}),
        watched._deliver, watched.clocks.steady,
    )  # fmt: skip
    gone.look()
    assert [item["status"] for item in watched.missing()] == ["resolved"]
    with watched.application.store.read() as connection:
        assert connection.execute(select(heartbeats)).all() == []


@pytest.mark.parametrize("watched", [BY_A_LABEL], indirect=True)
def test_an_absence_bears_the_labels_of_the_beats_and_is_none(watched: Watched) -> None:
    watched.watch.look()
    watched.beat(labels={"kind": "pulse"})
    watched.pass_(WITHIN + 2)
    (absence,) = watched.missing()
    assert absence["outcome"] != "ignored_by_rule"
    assert watched.application.control.incident(absence["incident_id"])["target"] == "alertmanager"
    watched.pass_(2)
    assert [item["status"] for item in watched.missing()] == ["firing"]


def test_a_defect_while_watching_does_not_end_the_watch(tmp_path: Path) -> None:
    config = site(tmp_path / "site", "alertmanager", strategies=STRATEGIES.replace("EXPECTED", "after_first"))
    looks: list[float] = []

    def monotonic() -> float:
        looks.append(0.0)
        if len(looks) == 1:
            raise RuntimeError("a defect")
        return 0.0

    with running(config, World(), monotonic=monotonic):
        until(lambda: len(looks) > 2, "the next look")
