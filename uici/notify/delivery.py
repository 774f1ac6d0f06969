"""Delivering what waits in the outbox: at least once, with growing pauses, until it is given up and shown as dead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import Row, select
from sqlalchemy.exc import SQLAlchemyError

from uici.model.masking import mask
from uici.ports import Clock, Notifier
from uici.store.database import Store
from uici.store.outbox import DEAD, PENDING, SENT
from uici.store.schema import outbox

_log = structlog.get_logger(__name__)

_LONGEST_PAUSE = 600.0
_MOST_TRIES = 450
"""About three days: the longest weekend that a receiver is down unseen."""


class Deliverer:
    """One thread that empties the outbox through every notifier."""

    def __init__(self, store: Store, clock: Clock, notifiers: Callable[[], Sequence[Notifier]]) -> None:
        self._store = store
        self._clock = clock
        self._notifiers = notifiers
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="uici-notify", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Finish the message under way; the others wait for the next start."""
        self._stopping.set()
        self._news.set()
        self._thread.join(timeout)

    def wake(self) -> None:
        """There may be something to deliver."""
        self._news.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                self._deliver_due()
            except SQLAlchemyError as error:
                # Nothing is lost: the messages stay where they are, and the next round tries again.
                _log.error("outbox_unreadable", error=str(getattr(error, "orig", error)))
            self._news.wait(1.0)

    def _deliver_due(self) -> None:
        with self._store.read() as connection:
            due = connection.execute(
                select(outbox)
                .where(outbox.c.state == PENDING, outbox.c.next_at <= self._clock.now())
                .order_by(outbox.c.id)
                .limit(100)
            ).all()
        for row in due:
            if self._stopping.is_set():
                return
            self._deliver(row)

    def _deliver(self, row: Row[Any]) -> None:
        # Its next turn is written first: a state that cannot be written must not send the same message every second.
        tries = row.tries + 1
        pause = timedelta(seconds=min(2.0 ** min(tries, 16), _LONGEST_PAUSE))
        self._write(row, {"tries": tries, "next_at": self._clock.now() + pause})
        # A notifier that accepted is not asked again when another one did not.
        accepted = set(filter(None, row.accepted.split(",")))
        errors = []
        # Here, at the one way out: whoever wrote the message may have known fewer secrets than are known by now.
        message = mask({**row.message, "id": row.id, "kind": row.kind})
        for notifier in self._notifiers():
            if notifier.name in accepted:
                continue
            try:
                notifier.send(message)
                accepted.add(notifier.name)
            except Exception as error:  # a notifier's defect is kept with the message, and must not end the deliverer
                errors.append(f"{notifier.name}: {error}")
        values: dict[str, object] = {"accepted": ",".join(sorted(accepted)), "error": "; ".join(errors)}
        if not errors:
            values |= {"state": SENT, "sent_at": self._clock.now(), "next_at": None}
        elif tries >= _MOST_TRIES:
            _log.error("message_undeliverable", id=row.id, kind=row.kind, errors=errors)
            values |= {"state": DEAD, "next_at": None}
        self._write(row, values)

    def _write(self, row: Row[Any], values: dict[str, object]) -> None:
        with self._store.write() as connection:
            connection.execute(outbox.update().where(outbox.c.id == row.id).values(values))
