"""Delivering messages: at least once on each channel, with growing pauses, until it is given up and shown as dead.

One thread decides who is told what (`Router`); each channel has its own, so that a receiver that hangs delays no other.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row, bindparam, or_, select
from sqlalchemy.exc import SQLAlchemyError

from uici.audit.chain import record
from uici.audit.entries import Entry
from uici.model.base import JsonObject
from uici.model.masking import mask
from uici.model.settings import ASKING, NotifySettings
from uici.notify.channels import Channel
from uici.notify.routing import Router
from uici.notify.wording import text_of
from uici.ports import Clock
from uici.store.database import Store
from uici.store.outbox import DeliveryState
from uici.store.schema import deliveries, outbox
from uici.store.workers import workers

_log = structlog.get_logger(__name__)

_BATCH = 20
_LONGEST_ERROR = 500
_LOOK_SECONDS = 1.0
_JITTER = 0.25
_SETTLED = (DeliveryState.SENT, DeliveryState.DEAD)

_DUE = (
    select(deliveries.c.tries, outbox)
    .join(outbox, outbox.c.id == deliveries.c.message_id)
    .where(
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.channel == bindparam("channel"),
        deliveries.c.next_at <= bindparam("now"),
        or_(
            deliveries.c.claimed_by.is_(None),
            deliveries.c.claimed_by == bindparam("worker"),
            deliveries.c.claimed_by.not_in(select(workers.c.id)),
        ),
    )
    .order_by(deliveries.c.tries, outbox.c.id)
    .limit(_BATCH)
)


class Deliverer:
    """Empties the outbox through every channel."""

    def __init__(
        self, store: Store, clock: Clock, channels: Sequence[Channel], settings: NotifySettings, worker: str
    ) -> None:
        """`worker` is this process among those that share the state."""
        self._store = store
        self._clock = clock
        self._router = Router(settings, channels)
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._workers = [_Worker(store, clock, channel, settings, worker, self._stopping) for channel in channels]
        self._thread = threading.Thread(target=self._work, name="uici-notify", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        with self._store.write() as connection:
            self._router.forget_removed(connection, self._clock.now())
        self._thread.start()
        for worker in self._workers:
            worker.thread.start()

    def stop(self, timeout: float) -> None:
        """Finish the messages under way, for at most `timeout` seconds; all others wait for the next start."""
        until = time.monotonic() + timeout
        self._stopping.set()
        self.wake()
        for thread in (self._thread, *(worker.thread for worker in self._workers)):
            thread.join(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """There may be something to deliver."""
        self._news.set()
        for worker in self._workers:
            worker.news.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                self._route()
            except SQLAlchemyError as error:
                # Nothing is lost: the messages stay where they are, and the next round decides about them.
                _log.error("outbox_unreadable", error=str(getattr(error, "orig", error)))
            except Exception:  # a defect of ours must not end the telling of everything else
                _log.exception("messages_not_routed")
            self._news.wait(_LOOK_SECONDS)

    def _route(self) -> None:
        with self._store.read() as connection:
            if not self._router.waits(connection, self._clock.now()):
                return
        with self._store.write() as connection:
            self._router.route(connection, self._clock.now())
        # Perhaps there is more than one round takes.
        self.wake()


class _Worker:
    """The thread of one channel."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        channel: Channel,
        settings: NotifySettings,
        worker: str,
        stopping: threading.Event,
    ) -> None:
        self._store = store
        self._clock = clock
        self._channel = channel
        self._retry = settings.retry
        self._send_seconds = settings.send_seconds
        self._worker = worker
        self._stopping = stopping
        self._hanging: threading.Thread | None = None
        self.news = threading.Event()
        self.thread = threading.Thread(target=self._work, name=f"uici-notify-{channel.name}", daemon=True)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self.news.clear()
            try:
                more = self._deliver_due()
            except SQLAlchemyError as error:
                # Nothing is lost: what could not be marked as sent is sent again.
                _log.error("outbox_unreadable", channel=self._channel.name, error=str(getattr(error, "orig", error)))
                more = False
            except Exception:  # a defect of ours must not end the telling of everything else
                _log.exception("messages_not_delivered", channel=self._channel.name)
                more = False
            if not more:
                self.news.wait(_LOOK_SECONDS)

    def _deliver_due(self) -> bool:
        """One batch, those first that were never tried: a message that is refused again and again delays no other.

        Says whether there may be more.
        """
        wanted = {"channel": self._channel.name, "now": self._clock.now(), "worker": self._worker}
        with self._store.read() as connection:
            if connection.execute(_DUE, wanted).first() is None:
                return False
        # Written before anything is sent: a state that cannot be written must not send the same message every second.
        # And claimed, so that no other process sends it too; what a dead one has claimed is due again.
        with self._store.write() as connection:
            due = connection.execute(_DUE, wanted).all()
            connection.execute(
                deliveries.update()
                .where(deliveries.c.channel == self._channel.name, deliveries.c.message_id.in_([row.id for row in due]))
                .values(tried_at=self._clock.now(), claimed_by=self._worker)
            )
        for row in due:
            if self._stopping.is_set():
                return False
            if not self._deliver(row):
                break
        return True

    def _deliver(self, row: Row[Any]) -> bool:
        # Here, at the one way out: by now more secrets may be known than when it was stored.
        message: JsonObject = mask({**row.message, "id": row.id, "kind": row.kind})
        error = self._send(message)
        now = self._clock.now()
        values: dict[str, object] = {"tries": row.tries + 1, "error": error or "", "claimed_by": None}
        if error is None:
            values |= {"state": DeliveryState.SENT, "settled_at": now, "next_at": None}
        elif row.tries + 1 >= self._retry.tries:
            _log.error("message_undeliverable", id=row.id, kind=row.kind, channel=self._channel.name, error=error)
            values |= {"state": DeliveryState.DEAD, "settled_at": now, "next_at": None}
        else:
            values |= {"next_at": now + self._pause(row.tries)}
        with self._store.write() as connection:
            connection.execute(
                deliveries.update()
                .where(deliveries.c.message_id == row.id, deliveries.c.channel == self._channel.name)
                .values(values)
            )
            if row.kind in ASKING and values.get("state") in _SETTLED:
                record(connection, _told(row, self._channel.name, values["state"], now))
        return error is None

    def _pause(self, tries: int) -> timedelta:
        seconds = min(self._retry.first_seconds * 2.0 ** min(tries, 32), self._retry.longest_seconds)
        return timedelta(seconds=seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311  # no secret

    def _send(self, message: JsonObject) -> str | None:
        """Why it was not accepted, or None."""
        if self._hanging is not None and self._hanging.is_alive():
            return "the delivery before this one still hangs"
        sending = Sending(self._channel, message)
        error = sending.result(self._send_seconds)
        self._hanging = sending.thread
        return error


def _told(row: Row[Any], channel: str, state: object, now: datetime) -> Entry:
    told = {"message": row.id, "about": row.kind, "channel": channel}
    kind = "people_told" if state is DeliveryState.SENT else "people_not_told"
    return Entry(at=now, kind=kind, incident=row.incident_id, run=row.run_id, data=told)


class Sending:
    """One delivery in a thread of its own, which can be left behind when the receiver never ends."""

    def __init__(self, channel: Channel, message: JsonObject) -> None:
        self._channel = channel
        self._message = message
        self._error: str | None = None
        self._done = threading.Event()
        self.thread = threading.Thread(target=self._send, name=f"uici-send-{channel.name}", daemon=True)
        self.thread.start()

    def result(self, seconds: float) -> str | None:
        """Why it was not accepted, or None. Waits for at most `seconds`."""
        return self._error if self._done.wait(seconds) else f"no end after {seconds:g} s"

    def _send(self) -> None:
        try:
            self._channel.notifier.send(self._message | {"text": text_of(self._message)})
        except Exception as error:  # a defect is kept with its message, and must not end the deliverer
            self._error = str(mask(str(error) or type(error).__name__))[:_LONGEST_ERROR]
        finally:
            self._done.set()
