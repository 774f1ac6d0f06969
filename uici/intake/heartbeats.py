"""Alerts that always fire: whoever stops delivering them is dead, and a dead Alertmanager reports nothing.

The intake counts the beats. A watch looks every second and measures silence by the machine's monotonic clock, and only
while it looks: a clock that is set, a machine that slept and a process that was stopped open no incident. After a
start every heartbeat has its whole time again, since nobody could deliver one before. The absence enters through the
intake as an alert of its own, and so does its end: targets may match it, and it is an incident like any other.

A heartbeat that is expected `after_first` is missed only once it has come again in time: an Alertmanager that repeats
it every four hours, as is its default, has not been told to send a heartbeat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import SQLAlchemyError

from uici.intake.payload import fingerprint_of
from uici.model.alert import HEARTBEAT_MISSING, Alert, AlertStatus, Notification
from uici.model.errors import Problem
from uici.model.site import Site, Strategy
from uici.ports import Clock
from uici.store.database import Store
from uici.store.inserting import insert_into, insert_or_leave
from uici.store.schema import heartbeats

SENDER = "uici"

_LOOK_SECONDS = 1.0
_LONGEST_COUNTED = 5.0
"""Of a longer pause between two looks only so much counts as silence: in the rest nobody could have been heard."""
_SHORTEST_PACE = 0.05
"""Share of the time within which a heartbeat is expected."""

_log = structlog.get_logger(__name__)


def count_beats(
    connection: Connection, strategy: str, fingerprint: str, labels: Mapping[str, str], beats: int, now: datetime
) -> None:
    """Record that a heartbeat was delivered `beats` times."""
    row = {"strategy": strategy, "fingerprint": fingerprint, "labels": dict(labels), "last_seen": now, "beats": beats}
    connection.execute(
        insert_into(connection, heartbeats)
        .values(row)
        .on_conflict_do_update(
            index_elements=["strategy", "fingerprint"],
            set_={"labels": row["labels"], "last_seen": now, "beats": heartbeats.c.beats + beats},
        )
    )


@dataclass
class _Silence:
    """How long one heartbeat has not been heard, as far as this process knows."""

    beats: int
    seconds: float = 0.0
    heard: bool = False
    """Whether a beat came while this process looked; the time before it is not known."""


class HeartbeatWatch:
    """One thread that misses heartbeats."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        site: Callable[[], Site],
        deliver: Callable[[Notification], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deliver` hands a notification to the intake and returns once it is on disk; it raises Problem."""
        self._store = store
        self._clock = clock
        self._site = site
        self._deliver = deliver
        self._monotonic = monotonic
        self._silences: dict[tuple[str, str], _Silence] = {}
        self._told: set[tuple[str, str]] = set()
        self._looked_at: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="uici-heartbeats", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join(timeout)

    def look(self) -> None:
        """One look: who has been silent for too long, and who is back. Raises Problem and SQLAlchemyError."""
        now = self._monotonic()
        first = self._looked_at is None
        passed = 0.0 if self._looked_at is None else min(max(0.0, now - self._looked_at), _LONGEST_COUNTED)
        self._looked_at = now
        expected = {name: item for name, item in self._site().strategies.items() if item.action == "heartbeat"}
        self._expect_always(expected)
        with self._store.read() as connection:
            rows = connection.execute(select(heartbeats)).all()
        for row in rows:
            strategy = expected.get(row.strategy)
            if strategy is None or self._replaced(row, rows, strategy):
                self._forget(row)
                continue
            key = (row.strategy, row.fingerprint)
            within = strategy.within_seconds or 0.0
            silence = self._silences.setdefault(key, _Silence(row.beats, heard=not first))
            silence.seconds += passed
            if row.beats != silence.beats:
                # Two peers deliver one beat almost at once; that is no pace.
                if silence.heard and not row.paced and within * _SHORTEST_PACE <= silence.seconds <= within:
                    self._write(row, paced=True)
                self._silences[key] = silence = _Silence(row.beats, heard=True)
            if row.missing_since is None:
                if silence.seconds > within and (row.paced or strategy.expected == "always"):
                    self._miss(row)
            elif row.beats > (row.missing_beats or 0):
                self._back(row)
            elif key not in self._told:
                # Before a crash, between the two writes; the intake knows whether it has this one already.
                self._tell(row, row.missing_since)

    def _work(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self.look()
            except (Problem, SQLAlchemyError) as error:
                # Nothing is lost: what is missing stays missing, and the next look tells it.
                _log.error("heartbeats_not_watched", error=str(getattr(error, "orig", error)))
            except Exception:  # a defect of ours: who watches for silence must not fall silent
                _log.exception("heartbeats_not_watched")

    def _expect_always(self, expected: Mapping[str, Strategy]) -> None:
        """A row for each heartbeat that is to be there although it was never seen."""
        names = [name for name, strategy in expected.items() if strategy.expected == "always"]
        if not names:
            return
        with self._store.read() as connection:
            known = set(connection.execute(select(heartbeats.c.strategy)).scalars())
        for name in names:
            if name not in known:
                with self._store.write() as connection:
                    row = {"strategy": name, "fingerprint": "", "labels": {}, "beats": 0, "paced": False}
                    connection.execute(insert_or_leave(connection, heartbeats, "strategy", "fingerprint"), row)

    def _replaced(self, row: Row[Any], rows: Sequence[Row[Any]], strategy: Strategy) -> bool:
        """Whether the row stands for a heartbeat never seen, and it has been seen, or is not expected any more."""
        seen = any(other.strategy == row.strategy and other.fingerprint for other in rows)
        return not row.fingerprint and (seen or strategy.expected != "always")

    def _miss(self, row: Row[Any]) -> None:
        since = self._clock.now()
        with self._store.write() as connection:
            missed = heartbeats.update().where(*_here(row), heartbeats.c.missing_since.is_(None))
            if connection.execute(missed.values(missing_since=since, missing_beats=row.beats)).rowcount == 0:
                return  # another process missed it first, and tells it
        _log.warning("heartbeat_missing", strategy=row.strategy, labels=row.labels)
        self._tell(row, since)

    def _tell(self, row: Row[Any], since: datetime) -> None:
        self._deliver(_notification(row, since, None))
        self._told.add((row.strategy, row.fingerprint))

    def _back(self, row: Row[Any]) -> None:
        # Told first: a crash in between tells it again, and the intake takes it once.
        self._deliver(_notification(row, row.missing_since, self._clock.now()))
        self._write(row, missing_since=None, missing_beats=None)
        self._told.discard((row.strategy, row.fingerprint))

    def _forget(self, row: Row[Any]) -> None:
        if row.missing_since is not None:
            self._deliver(_notification(row, row.missing_since, self._clock.now()))
        with self._store.write() as connection:
            connection.execute(heartbeats.delete().where(*_here(row)))
        self._silences.pop((row.strategy, row.fingerprint), None)
        self._told.discard((row.strategy, row.fingerprint))

    def _write(self, row: Row[Any], **values: object) -> None:
        with self._store.write() as connection:
            connection.execute(heartbeats.update().where(*_here(row)).values(values))


def _here(row: Row[Any]) -> tuple[Any, Any]:
    return heartbeats.c.strategy == row.strategy, heartbeats.c.fingerprint == row.fingerprint


def _notification(row: Row[Any], since: datetime, until: datetime | None) -> Notification:
    last = row.last_seen.isoformat() if row.last_seen is not None else "never"
    # An alert that always fires is of no severity; its absence is.
    labels = {**row.labels, "alertname": HEARTBEAT_MISSING, "heartbeat": row.strategy, "severity": "critical"}
    alert = Alert(
        fingerprint=fingerprint_of(labels),
        status=AlertStatus.FIRING if until is None else AlertStatus.RESOLVED,
        labels=labels,
        annotations={
            "summary": f"The heartbeat {row.strategy} is missing",
            "description": f"Last delivered: {last}. Prometheus, Alertmanager or the way from there to UICI is broken, "
            "and other alerts do not arrive either.",
        },
        starts_at=since,
        ends_at=until,
        generator_url="",
    )
    return Notification(receiver=SENDER, group_key="", external_url="", alerts=(alert,), truncated_alerts=0)
