"""Deleting what is too old, a little at a time, so that nothing is held up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from uici.audit.chain import cut
from uici.model.base import JsonObject
from uici.model.retention import RetentionSettings
from uici.ports import Clock
from uici.runs.retention import KINDS, Deleted, Kind, too_old
from uici.store.audited import audit
from uici.store.database import Store
from uici.store.times import utc_text

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 0.02
_AUDIT_PIECE = timedelta(days=1)


class Retention:
    """Rounds of deleting, by themselves while started, or asked for."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Callable[[], RetentionSettings],
        mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """`mine` says whether this process does the round that is due; of several one does."""
        self._store = store
        self._clock = clock
        self._settings = settings
        self._mine = mine
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="uici-retention", daemon=True)

    def start(self) -> None:
        """Begin to look now and then."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Finish the transaction under way, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def round(self) -> Deleted:
        """Delete what is too old, for as long as a round may take; how many rows went, by table.

        Raises SQLAlchemyError when the state cannot be written.
        """
        settings, now = self._settings(), self._clock.now()
        end = time.monotonic() + settings.round_seconds
        gone: Deleted = Counter()
        for kind in KINDS:
            before = too_old(kind, settings, now)
            if before is None or (kind.after is not None and not gone[kind.after]):
                continue
            while time.monotonic() < end and not self._stopping.is_set():
                with self._store.read() as connection:
                    found = kind.find(connection, before, settings.rows_at_once)
                if not found:
                    break
                with self._store.write() as connection:
                    gone += kind.delete(connection, found, before)
                # The others' turn.
                self._stopping.wait(_PAUSE_SECONDS)
        gone["audit"] += self._cut_audit(settings, now)
        while time.monotonic() < end and self._store.give_back():
            self._stopping.wait(_PAUSE_SECONDS)
        gone = +gone
        if gone:
            log.info("retention_round", deleted=dict(gone))
        return gone

    def _cut_audit(self, settings: RetentionSettings, now: datetime) -> int:
        """Cutting adds an entry of its own, so it is done for a day's entries at least."""
        if not settings.audit_seconds:
            return 0
        before = now - timedelta(seconds=settings.audit_seconds)
        with self._store.read() as connection:
            oldest = connection.execute(select(audit.c.at).order_by(audit.c.seq).limit(1)).scalar()
        if oldest is None or oldest >= utc_text(before - _AUDIT_PIECE):
            return 0
        with self._store.write() as connection:
            return cut(connection, before, now, actor="uici retention")

    def overview(self) -> list[JsonObject]:
        """Every kind with how long it is kept, how many rows its table has, and how many are too old now."""
        settings, now = self._settings(), self._clock.now()
        shown = []
        with self._store.read() as connection:
            for kind in KINDS:
                before = too_old(kind, settings, now)
                shown.append(
                    {
                        "kind": kind.name,
                        "table": kind.table.name,
                        "kept_seconds": _shown_seconds(kind, settings),
                        "rows": connection.execute(select(func.count()).select_from(kind.table)).scalar_one(),
                        "too_old": 0 if before is None else kind.count(connection, before),
                    }
                )
        return shown

    def _work(self) -> None:
        while not self._stopping.wait(self._settings().every_seconds or None):
            try:
                if self._mine():
                    self.round()
            except SQLAlchemyError as error:  # /readyz tells of a state that cannot be written; here it is tried again
                log.error("retention_failed", error=str(getattr(error, "orig", None) or error))


def _shown_seconds(kind: Kind, settings: RetentionSettings) -> float | None:
    """None for ever, and for what goes when nothing refers to it any more."""
    return None if kind.after is not None else kind.seconds(settings) or None
