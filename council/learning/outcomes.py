"""Outcomes on the disk: which answers somebody called right or wrong, with what was known of them before."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from council.learning.calibrating import Outcome
from council.state import opened

_MOST_RECENT = 10_000
"""Answers of which is remembered what they were, until somebody judges them."""
_TABLE = """
CREATE TABLE IF NOT EXISTS outcomes (
  answer TEXT NOT NULL, stage TEXT NOT NULL, tenant TEXT NOT NULL, raw REAL NOT NULL, right INTEGER NOT NULL,
  told_at REAL NOT NULL, question TEXT NOT NULL, PRIMARY KEY (answer, stage)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outcomes_of ON outcomes (stage, told_at);
"""


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that somebody may judge."""

    tenant: str
    stage: str
    raw: float
    question: str
    """Empty where questions are not kept."""


class Outcomes:
    """One file. Methods block; safe from several threads."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, Given] = OrderedDict()
        self._db = opened(file, _TABLE)

    def gave(self, answer: str, given: Given) -> None:
        """Remember an answer for as long as it is among the last ones."""
        with self._lock:
            self._recent[answer] = given
            if len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)

    def judge(self, answer: str, tenant: str, *, right: bool) -> str:
        """Keep whether an answer was right; said again, the last word counts. The stage that gave it.

        Raises LookupError for an answer that this process did not give to this tenant lately.
        """
        with self._lock:
            given = self._recent.get(answer)
            if given is None or given.tenant != tenant:
                raise LookupError(answer)
            self._db.execute(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET right = excluded.right",
                (answer, given.stage, tenant, given.raw, right, self._clock(), given.question),
            )
            return given.stage

    def of(self, stage: str, most: int) -> list[Outcome]:
        """The last ones of a stage, the oldest first."""
        with self._lock:
            rows: Iterable[tuple[float, int, str]] = self._db.execute(
                "SELECT raw, right, question FROM outcomes WHERE stage = ? ORDER BY told_at DESC, answer LIMIT ?",
                (stage, most),
            ).fetchall()
        return [Outcome(raw, bool(right), question) for raw, right, question in rows][::-1]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
