"""What the simulated cloud holds: one SQLite file, so that a killed simulator goes on where it was.

A request's changes, its entry in the event log and the answer kept for its retry token are one transaction, committed
before the answer is sent.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uici.model.base import JsonObject, digest

_TABLES = """
CREATE TABLE IF NOT EXISTS resources (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, seq INTEGER NOT NULL, version INTEGER NOT NULL,
  wire TEXT NOT NULL, hidden TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS resources_kind ON resources (kind, seq);
CREATE TABLE IF NOT EXISTS timers (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL, step TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, request TEXT NOT NULL, operation TEXT NOT NULL,
  resource TEXT NOT NULL, effect TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (token TEXT PRIMARY KEY, body TEXT NOT NULL, resource TEXT NOT NULL,
  answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass
class Resource:
    """One thing in the cloud: what its service shows of it, and what only the simulator knows."""

    kind: str
    id: str
    wire: JsonObject
    hidden: JsonObject = field(default_factory=dict)
    version: int = 0

    @property
    def etag(self) -> str:
        """Another one after every change."""
        return digest([self.id, self.version]).removeprefix("sha256:")[:40]


@dataclass(frozen=True)
class Timer:
    """Something that becomes due."""

    seq: int
    due: float
    step: str
    id: str
    data: JsonObject


@dataclass(frozen=True)
class Effect:
    """One change that took effect: what a request did, or what the cloud did by itself (then `request` is empty)."""

    seq: int
    at: str
    request: str
    operation: str
    resource: str
    effect: str


class State:
    """The file `cloud.sqlite` in a folder. Usable by several threads; one transaction at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._database = sqlite3.connect(folder / "cloud.sqlite", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested ones belong to the outermost."""
        with self._lock:
            outermost = self._depth == 0
            if outermost:
                self._database.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if outermost:
                    self._database.execute("ROLLBACK")
                raise
            else:
                if outermost:
                    self._database.execute("COMMIT")
            finally:
                self._depth -= 1

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(sql, values).fetchall()

    def get(self, kind: str, id: str) -> Resource | None:
        """One resource by its OCID."""
        rows = self._rows("SELECT kind, id, wire, hidden, version FROM resources WHERE id=? AND kind=?", id, kind)
        return _resource(rows[0]) if rows else None

    def any(self, id: str) -> Resource | None:
        """One resource of whatever kind."""
        rows = self._rows("SELECT kind, id, wire, hidden, version FROM resources WHERE id=?", id)
        return _resource(rows[0]) if rows else None

    def find(self, kind: str) -> list[Resource]:
        """All of one kind, oldest first."""
        sql = "SELECT kind, id, wire, hidden, version FROM resources WHERE kind=? ORDER BY seq"
        return [_resource(row) for row in self._rows(sql, kind)]

    def put(self, resource: Resource) -> None:
        """Keep a new resource or a changed one; its etag is another one afterwards."""
        resource.version += 1
        with self.transaction():
            self._rows(
                "INSERT INTO resources (id, kind, seq, version, wire, hidden)"
                " VALUES (?, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM resources), ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET version=excluded.version, wire=excluded.wire, hidden=excluded.hidden",
                resource.id,
                resource.kind,
                resource.version,
                json.dumps(resource.wire),
                json.dumps(resource.hidden),
            )

    def remove(self, id: str) -> None:
        """Forget a resource and what it was waiting for."""
        with self.transaction():
            self._rows("DELETE FROM resources WHERE id=?", id)
            self._rows("DELETE FROM timers WHERE id=?", id)

    def schedule(self, due: float, step: str, id: str, data: JsonObject | None = None) -> None:
        """Let `step` happen to a resource when the clock says `due`."""
        with self.transaction():
            self._rows(
                "INSERT INTO timers (due, step, id, data) VALUES (?, ?, ?, ?)", due, step, id, json.dumps(data or {})
            )

    def cancel(self, step: str, id: str) -> None:
        """Take back what was to happen."""
        with self.transaction():
            self._rows("DELETE FROM timers WHERE step=? AND id=?", step, id)

    def take_due(self, now: float) -> Timer | None:
        """The earliest timer that is due, removed."""
        with self.transaction():
            rows = self._rows("SELECT seq, due, step, id, data FROM timers WHERE due<=? ORDER BY due, seq LIMIT 1", now)
            if not rows:
                return None
            seq, due, step, id, data = rows[0]
            self._rows("DELETE FROM timers WHERE seq=?", seq)
            return Timer(seq, due, step, id, json.loads(data))

    def next_due(self) -> float | None:
        """When the next timer is due."""
        due: float | None = self._rows("SELECT MIN(due) FROM timers")[0][0]
        return due

    def record(self, at: str, request: str, operation: str, resource: str, effect: str) -> None:
        """Write to the event log that something has changed."""
        with self.transaction():
            self._rows(
                "INSERT INTO events (at, request, operation, resource, effect) VALUES (?, ?, ?, ?, ?)",
                at,
                request,
                operation,
                resource,
                effect,
            )

    def effects(self, after: int = 0) -> list[Effect]:
        """The event log."""
        sql = "SELECT seq, at, request, operation, resource, effect FROM events WHERE seq>? ORDER BY seq"
        return [Effect(*row) for row in self._rows(sql, after)]

    def reply(self, token: str) -> tuple[str, str, JsonObject] | None:
        """Body's digest, created resource and answer of an earlier request with this retry token."""
        rows = self._rows("SELECT body, resource, answer FROM replies WHERE token=?", token)
        return (rows[0][0], rows[0][1], json.loads(rows[0][2])) if rows else None

    def keep_reply(self, token: str, body: str, resource: str, answer: JsonObject) -> None:
        """Remember the answer to a request with a retry token."""
        with self.transaction():
            sql = "INSERT OR REPLACE INTO replies (token, body, resource, answer) VALUES (?, ?, ?, ?)"
            self._rows(sql, token, body, resource, json.dumps(answer))

    def fact(self, name: str) -> Any:
        """A single value; None when it was never set."""
        rows = self._rows("SELECT value FROM facts WHERE name=?", name)
        return json.loads(rows[0][0]) if rows else None

    def set_fact(self, name: str, value: Any) -> None:
        """Keep a single value."""
        with self.transaction():
            self._rows("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", name, json.dumps(value))

    def fingerprint(self) -> str:
        """Another one whenever any resource is: equal before and after means that nothing was changed."""
        return digest([list(row) for row in self._rows("SELECT id, version, wire FROM resources ORDER BY id")])


def _resource(row: tuple[Any, ...]) -> Resource:
    kind, id, wire, hidden, version = row
    return Resource(kind, id, json.loads(wire), json.loads(hidden), version)
