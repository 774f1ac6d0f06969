"""The canary's weight on the disk, with who set it and why; several processes share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from council.state import immediate, opened

_TABLE = """
CREATE TABLE IF NOT EXISTS canary (
  number INTEGER PRIMARY KEY AUTOINCREMENT, weight REAL NOT NULL, set_at REAL NOT NULL, set_by TEXT NOT NULL,
  because TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One weight, as somebody set it."""

    number: int
    """Counts up: two settings are never the same."""
    weight: float
    set_at: float
    set_by: str
    because: str


_NONE = Setting(0, 0.0, 0.0, "nobody", "no weight was set yet")


class Weights:
    """One file. Methods block; safe from several threads."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._db = opened(file, _TABLE)

    def now(self) -> Setting:
        """What is in force."""
        return self.history(1)[0]

    def history(self, most: int) -> list[Setting]:
        """The last settings, the newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, weight, set_at, set_by, because FROM canary ORDER BY number DESC LIMIT ?", (most,)
            ).fetchall()
        return [Setting(*row) for row in rows] or [_NONE]

    def put(self, weight: float, actor: str, because: str) -> tuple[Setting, bool]:
        """Set the weight. The setting, and whether it is a new one: the same weight again changes nothing."""
        with self._lock, immediate(self._db):
            row = self._db.execute(
                "SELECT number, weight, set_at, set_by, because FROM canary ORDER BY number DESC LIMIT 1"
            ).fetchone()
            known = Setting(*row) if row else _NONE
            if known.weight == weight:
                return known, False
            now = self._clock()
            number = self._db.execute(
                "INSERT INTO canary (weight, set_at, set_by, because) VALUES (?, ?, ?, ?)",
                (weight, now, actor, because),
            ).lastrowid
            return Setting(number or 0, weight, now, actor, because), True

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
