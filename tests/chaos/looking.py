"""What the state shows, read beside the replicas: while they work, and at the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from tests.chaos.history import AlertRow, Attempt, Held, History, IncidentRow, RunRow, worker_of
from tests.real.postgres import Postgres

_LOOK_SECONDS = 0.3
# A run that was of a dead worker may have been taken up by one that did not come to write so: it died, or could not.
_HELD = (
    "SELECT r.id, r.state, coalesce(w.executor_id, r.worker), s.run_id IS NOT NULL "
    "FROM runs r LEFT JOIN slots s ON s.run_id = r.id "
    "LEFT JOIN dbos.workflow_status w ON w.workflow_uuid = r.id || ':' || r.part "
    "WHERE r.state = 'active' OR s.run_id IS NOT NULL"
)
_OPEN = (
    "SELECT (SELECT count(*) FROM alerts WHERE outcome IS NULL) + (SELECT count(*) FROM runs WHERE state <> 'ended') "
    "+ (SELECT count(*) FROM incidents WHERE state <> 'closed')"
)


class Looker:
    """Looks again and again who holds what."""

    def __init__(self, database: Postgres, name: str) -> None:
        self.held: list[Held] = []
        self._database = database
        self._name = name
        self._connection: psycopg.Connection | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="chaos-looker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _work(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self._look()
            except psycopg.OperationalError:
                # One of the faults; the next look makes a new connection.
                self._connection = None

    def _look(self) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect(self._name)
        # Before the question: an answer that comes late tells of a moment that is later still.
        at = time.monotonic()
        for id_, state, worker, slot in self._connection.execute(_HELD).fetchall():
            self.held.append(Held(at, id_, state, worker and worker_of(worker), slot))


def unfinished(database: Postgres, name: str) -> int:
    """How many alerts, runs and incidents have not come to their end."""
    with database.connect(name) as connection:
        row = connection.execute(_OPEN).fetchone()
    assert row is not None
    return int(row[0])


def count_runs(database: Postgres, name: str) -> int:
    """How many runs there are."""
    with database.connect(name) as connection:
        row = connection.execute("SELECT count(*) FROM runs").fetchone()
    assert row is not None
    return int(row[0])


def collect(history: History, database: Postgres, name: str, url: str, headers: dict[str, str]) -> None:
    """Add the tables at the end, and what the API of one replica answers."""
    with database.connect(name) as connection:
        rows = _reader(connection)
        endings = Counter(row["run_id"] for row in rows("SELECT run_id FROM events WHERE type = 'run_ended'"))
        history.alerts = [
            AlertRow(row["fingerprint"], moment(row["starts_at"]), row["incident_id"], row["outcome"])
            for row in rows("SELECT * FROM alerts")
        ]
        history.runs = [
            RunRow(row["id"], row["incident_id"], row["state"], row["outcome"], endings[row["id"]])
            for row in rows("SELECT id, incident_id, state, outcome FROM runs")
        ]
        history.attempts = [
            Attempt(row["run_id"], row["position"], row["number"], row["target"], row["outcome"])
            for row in rows("SELECT a.*, r.target FROM attempts a JOIN runs r ON r.id = a.run_id WHERE a.mutates")
        ]
        history.slots_held = [row["target"] for row in rows("SELECT target FROM slots WHERE run_id IS NOT NULL")]
        shown = _shown(url, headers)
        history.incidents = [
            IncidentRow(row["id"], row["state"], row["outcome"], shown.get(row["id"]))
            for row in rows("SELECT id, state, outcome FROM incidents")
        ]


def moment(text: str) -> str:
    """A time in one way of writing it."""
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def _reader(connection: psycopg.Connection) -> Any:
    cursor = connection.cursor(row_factory=dict_row)
    return lambda statement: cursor.execute(statement).fetchall()


def _shown(url: str, headers: dict[str, str]) -> dict[str, str | None]:
    """Outcome of each incident, as the API lists them."""
    found: dict[str, str | None] = {}
    before: str | None = None
    while True:
        query: dict[str, str | int] = {"limit": 100} | ({"before": before} if before else {})
        answer = httpx.get(
            f"{url}/api/v1/incidents", params=query, headers=headers, timeout=60, trust_env=False
        ).raise_for_status()
        page = answer.json()["incidents"]
        if not page:
            return found
        found |= {item["id"]: item["outcome"] for item in page}
        before = page[-1]["id"]
