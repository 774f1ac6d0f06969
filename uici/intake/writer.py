"""The one writer of alerts: commits whole batches of notifications before any of them is answered.

One thread takes what is waiting, writes it in one transaction and then completes the futures. So many
notifications share the price of one durable commit, and two deliveries of one alert can never race.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from uici.events.log import EventLog
from uici.intake.queries import IncidentRef
from uici.intake.recording import Batch
from uici.intake.targeting import index_of
from uici.intake.waiting import FairQueue, FullError
from uici.model.alert import Notification
from uici.model.base import Frozen, JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.masking import mask
from uici.model.settings import IntakeSettings
from uici.model.site import Site
from uici.ports import Clock

log = structlog.get_logger(__name__)

_BATCH_NOTIFICATIONS = 256
_BATCH_ALERTS = 5000
_PATIENCE_SECONDS = 30.0
_FAILED_SECONDS = 5.0
"""How long a commit that failed makes this process unready, unless one succeeds: a full disk may take small writes."""
_LONGEST_UNTOLD_SECONDS = 0.5
"""How long runs may wait for alerts that are not yet committed: more of a storm is on disk before it is acted upon."""
_LULL_SECONDS = 0.01
"""So long nothing comes from senders that each wait for an answer when they have no more to send."""
_STORM_SECONDS = 0.1
"""So long after a commit that several notifications shared more of them are expected."""
_GATHER_SECONDS = 0.003
"""How long a commit waits for as many notifications as shared the one before it, which came from as many senders."""


class Accepted(Frozen):
    """What became of one notification; everything in it is on disk."""

    received: int
    new: int
    truncated: int
    refused: int
    """Those about what the sender's scope does not cover."""
    incidents: tuple[IncidentRef, ...]


class _Waiting(Frozen):
    notification: Notification
    sender: str


_Item = tuple[_Waiting, Future[Accepted]]


class IntakeWriter:
    """Takes notifications, commits them, and tells the runs that there is something new."""

    def __init__(
        self,
        events: EventLog,
        clock: Clock,
        site: Callable[[], Site],
        identity: Callable[[], SelfIdentity],
        layers: SelfGuardLayers,
        settings: IntakeSettings,
        on_new: Callable[[], None],
    ) -> None:
        self._events = events
        self._clock = clock
        self._site = site
        self._identity = identity
        self._layers = layers
        self._on_new = on_new
        self._settings = settings
        self._queue: FairQueue[_Item] = FairQueue(settings.queue_notifications)
        self._thread = threading.Thread(target=self._work, name="uici-intake", daemon=True)
        self._closed = False
        self._refused = 0
        self._failed: tuple[float, str] | None = None
        """When and why the latest commit failed."""
        self._untold_since: float | None = None
        self._shared_at = float("-inf")
        """When the last commit was made that several notifications shared; forgotten as soon as no more come."""
        self._committing_since: float | None = None
        self._shared_by = 1
        """How many notifications the last commit held."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is waiting, then end. Later submissions are refused."""
        self._closed = True
        self._queue.close()
        self._thread.join()

    def waiting(self) -> int:
        """How many notifications wait for their commit."""
        return len(self._queue)

    def storming(self) -> bool:
        """Whether several senders hand in one notification after the other."""
        return time.monotonic() - self._shared_at < _STORM_SECONDS

    def works(self) -> bool:
        """Whether what waits is committed."""
        return self._thread.is_alive()

    def check(self) -> JsonObject:
        """Whether what waits is committed, for /readyz: a commit that failed counts for a while."""
        failed = self._failed
        late = failed is None or time.monotonic() - failed[0] > _FAILED_SECONDS
        failure = "" if failed is None or late else failed[1]
        waiting = f"{self.waiting()} notifications wait for their commit"
        return {"name": "intake", "ok": self.works() and not failure, "detail": mask(failure or waiting)}

    def refused(self) -> int:
        """How many notifications were answered with 503 since the start, because they could not be stored."""
        return self._refused

    def submit(self, notification: Notification, sender: str) -> Future[Accepted]:
        """Hand over a notification; the future is done when it is on disk.

        Raises Problem (unavailable) at once when too many are waiting, or those before it for too long; the future
        raises the same when the state cannot be written.
        """
        future: Future[Accepted] = Future()
        if self._closed:
            self._refused += 1
            raise _unavailable("intake_closed", "UICI is shutting down")
        self._refuse_delay(sender)
        try:
            self._queue.put(sender, (_Waiting(notification=notification, sender=sender), future))
        except FullError:
            self._refused += 1
            raise _unavailable("intake_full", "too many notifications are waiting to be committed") from None
        return future

    def _refuse_delay(self, sender: str) -> None:
        """What would wait for long is better sent again than answered late."""
        since = self._committing_since
        waited = max(self._queue.longest_wait(sender), time.monotonic() - since if since is not None else 0.0)
        if waited > self._settings.wait_seconds:
            self._refused += 1
            raise _unavailable("intake_slow", f"what came before has waited for its commit for {waited:.1f} s")

    def deliver(self, notification: Notification, sender: str) -> None:
        """As `submit`, but returns once it is on disk. Raises Problem."""
        try:
            self.submit(notification, sender).result(_PATIENCE_SECONDS)
        except TimeoutError:
            raise _unavailable("state_unwritable", "the alerts could not be stored in time") from None

    def _work(self) -> None:
        while not self._queue.ended:
            batch = self._next_batch()
            since = time.monotonic()
            if batch and not self._commit_all(batch, since) and len(batch) > 1:
                # One bad notification must not take its neighbours with it.
                for item in batch:
                    self._commit([item], since)
            for _, future in batch:
                if not future.done():
                    self._refused += 1
                    future.set_exception(_unavailable("state_unwritable", "the alerts could not be stored"))
        self._tell_runs()

    def _tell_runs(self) -> None:
        if self._untold_since is not None:
            self._untold_since = None
            self._on_new()

    def _first(self) -> _Item | None:
        """The next notification. New incidents are looked at meanwhile, but not between the commits of a storm, which
        the runs' work would delay.
        """
        while self._untold_since is not None:
            lull = _LULL_SECONDS if self._shared_by > 1 else 0.0
            left = self._untold_since + _LONGEST_UNTOLD_SECONDS - time.monotonic()
            item = self._queue.get(timeout=max(0.0, min(lull, left)))
            if item is not None:
                return item
            if left > 0:
                self._shared_at = float("-inf")
            self._tell_runs()
        return self._queue.get()

    def _next_batch(self) -> list[_Item]:
        item = self._first()
        batch = [] if item is None else [item]
        self._fill(batch, _GATHER_SECONDS)
        return batch

    def _fill(self, batch: list[_Item], seconds: float = 0.0) -> None:
        """Add what has come, and wait so long for as many as shared the commit before."""
        alerts = sum(_alerts_of(item) for item in batch)
        until = time.monotonic() + seconds
        while batch and len(batch) < _BATCH_NOTIFICATIONS and alerts < _BATCH_ALERTS:
            wait = until - time.monotonic() if len(batch) < self._shared_by else 0.0
            item = self._queue.get(timeout=max(0.0, wait))
            if item is None:
                break
            batch.append(item)
            alerts += _alerts_of(item)

    def _commit_all(self, batch: list[_Item], since: float) -> bool:
        """As `_commit`, with all that came while other writers, in this process or another, were at work."""
        committed = self._commit(batch, since, more=True)
        self._shared_by = len(batch)
        return committed

    def _commit(self, batch: list[_Item], since: float, *, more: bool = False) -> bool:
        self._committing_since = since
        try:
            with self._events.writing(urgent=True) as connection:
                if more:
                    self._fill(batch)
                answers = self._record(connection, [waiting for waiting, _ in batch], self._clock.now())
        except SQLAlchemyError as error:
            why = str(getattr(error, "orig", error))
            self._failed = time.monotonic(), why
            log.error("intake_commit_failed", notifications=len(batch), error=why)
            return False
        except Exception as error:
            # A defect of ours in one notification: it is refused (503, so it is sent again), never half kept, and the
            # others are taken: without this thread nothing is.
            log.exception("intake_record_failed", notifications=len(batch), error=type(error).__name__)
            return False
        finally:
            # Before anybody is answered: what is sent upon the answer to a slow commit waits for that commit no more.
            self._committing_since = None
        self._failed = None
        if len(batch) > 1:
            self._shared_at = time.monotonic()
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
        if self._untold_since is None:
            self._untold_since = time.monotonic()
        return True

    def _record(self, connection: Connection, waiting: list[_Waiting], now: datetime) -> list[Accepted]:
        site = self._site()
        batch = Batch(connection, self._events, site, index_of(site), self._identity(), self._layers, now)
        batch.load(item.notification for item in waiting)
        answers = []
        for item in waiting:
            new, touched = batch.add(item.notification, item.sender)
            answers.append((item.notification, new, touched))
        batch.flush()
        known = batch.incidents(id_ for _, _, touched in answers for id_ in touched)
        return [
            Accepted(
                received=len(notification.alerts) + len(notification.outside),
                new=new,
                truncated=notification.truncated_alerts,
                refused=len(notification.outside),
                incidents=tuple(known[id_] for id_ in touched),
            )
            for notification, new, touched in answers
        ]


def _alerts_of(item: _Item) -> int:
    return len(item[0].notification.alerts) + len(item[0].notification.outside)


def _unavailable(code: str, detail: str) -> Problem:
    return Problem(
        ProblemKind.UNAVAILABLE,
        code,
        detail,
        hint="nothing was accepted; send it again (Alertmanager does so by itself)",
    )
