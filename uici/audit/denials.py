"""Who was turned away, in the audit log: counted and added up, so that who knocks all day cannot fill the disk."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from uici.audit.chain import record
from uici.audit.entries import Entry
from uici.model.base import Frozen
from uici.ports import Clock
from uici.store.database import Store

_log = structlog.get_logger(__name__)

SECONDS = 15.0
"""Between two looks at what was counted: as much as that is lost when the process is killed."""
MOST = 5
"""Entries at each look, beside one that adds up all others."""
_MOST_KINDS = 1000
"""Different denials that are told apart between two looks."""


class Denial(Frozen):
    """What was turned away: those that are equal are counted as one entry."""

    kind: str
    actor: str
    client: str
    route: str
    code: str


class Denials:
    """Counts, and writes from time to time."""

    def __init__(self, store: Store, clock: Clock, *, seconds: float = SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._seconds = seconds
        self._lock = threading.Lock()
        self._counts: Counter[Denial] = Counter()
        self._others = 0
        self._since: datetime | None = None
        self._some = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="uici-denials", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Write what is left."""
        self._stopping.set()
        self._some.set()
        self._thread.join(timeout)

    def note(self, denial: Denial) -> None:
        """Count one. Never waits for the database."""
        with self._lock:
            self._since = self._since or self._clock.now()
            if denial in self._counts or len(self._counts) < _MOST_KINDS:
                self._counts[denial] += 1
            else:
                self._others += 1
        self._some.set()

    def write(self) -> None:
        """Write what was counted since the last time. Raises SQLAlchemyError, and then keeps the counts."""
        with self._lock:
            counts, others, since = self._counts, self._others, self._since
            self._counts, self._others, self._since = Counter(), 0, None
        if since is None:
            return
        try:
            with self._store.write() as connection:
                record(connection, *_entries(counts, others, since, self._clock.now()))
        except SQLAlchemyError:
            with self._lock:
                self._counts.update(counts)
                self._others += others
                self._since = since
            raise

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._some.wait()
            self._stopping.wait(self._seconds)
            self._some.clear()
            try:
                self.write()
            except SQLAlchemyError as error:
                self._some.set()
                _log.error("denials_not_written", error=str(getattr(error, "orig", error)))


def _entries(counts: Counter[Denial], others: int, since: datetime, now: datetime) -> list[Entry]:
    first = [
        Entry(
            at=now,
            kind=denial.kind,
            actor=denial.actor,
            data={
                "client": denial.client,
                "route": denial.route,
                "code": denial.code,
                "count": count,
                "since": since.isoformat(),
            },
        )
        for denial, count in counts.most_common(MOST)
    ]
    rest = counts.most_common()[MOST:]
    if not rest and not others:
        return first
    added_up = {
        "count": sum(count for _, count in rest) + others,
        "kinds": len(rest),
        "clients": len({denial.client for denial, _ in rest}),
        "since": since.isoformat(),
    }
    return [*first, Entry(at=now, kind="more_denied", data=added_up)]
