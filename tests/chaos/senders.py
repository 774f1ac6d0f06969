"""Senders of alerts: each delivers to several replicas, twice, too late and in the wrong order, until one accepts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx

from tests.chaos.history import Accepted
from tests.chaos.replicas import Fleet
from tests.e2e.server import alert, payload, resolved
from uici.model.base import JsonObject

ALERT = "Down"
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_THREADS = 8
_AGAIN_SECONDS = 1.0
_OFTEN = 0.15
"""Which part of all alerts falls on a twentieth of the services."""


@dataclass(frozen=True)
class Occurrence:
    """An alert that is going to fire."""

    after: float
    """Seconds after the one before it."""
    number: int
    target: int
    bad: bool
    """Whether a restart does not help."""
    copies: tuple[float, ...]
    """Further deliveries of the same, each so many seconds later."""
    resolved_after: float | None
    """When its end is delivered; below zero before its beginning."""


def plan(seed: int, count: int, targets: int, pace: float) -> list[Occurrence]:
    """So many alerts, about `pace` a second; the same for the same seed."""
    drawn = random.Random(f"alerts:{seed}")
    return [
        Occurrence(
            after=drawn.expovariate(pace),
            number=number,
            # Some services fail again and again, most of them once or twice.
            target=drawn.randrange(targets if drawn.random() > _OFTEN else max(1, targets // 20)),
            bad=drawn.random() < 0.2,
            copies=tuple(drawn.uniform(0, 5) for _ in range(drawn.choice((0, 1, 2)))),
            resolved_after=drawn.uniform(-0.5, 6) if drawn.random() < 0.3 else None,
        )
        for number in range(count)
    ]


class Senders:
    """Delivers a plan."""

    def __init__(
        self, fleet: Fleet, headers: dict[str, str], targets: list[str], spoil: Callable[[str, bool], None]
    ) -> None:
        self.accepted: list[Accepted] = []
        self.answers: dict[int, int] = {}
        """Status -> how many; 0 is no answer."""
        self.failures: list[str] = []
        self._fleet = fleet
        self._headers = headers
        self._targets = targets
        self._spoil = spoil
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(_THREADS, "chaos-sender")
        self._timers: list[Future[None]] = []
        self._lock = threading.Lock()
        self._http = httpx.Client(trust_env=False, timeout=15.0)

    def deliver(self, occurrences: list[Occurrence], until: float) -> None:
        """Send them at their times, those that are due before `until` of the monotonic clock."""
        queue: list[tuple[float, Callable[[], None]]] = []
        at = time.monotonic()
        for occurrence in occurrences:
            at += occurrence.after
            firing = alert(
                ALERT,
                self._targets[occurrence.target],
                fingerprint=f"{ALERT}-{occurrence.target}",
                starts=_BEGIN + timedelta(seconds=occurrence.number),
            )
            queue += self._deliveries(at, occurrence, firing)
        for due, what in sorted(queue, key=lambda item: item[0]):
            if due > until:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            self._timers.append(self._pool.submit(what))

    def stop(self) -> None:
        """Try nothing again, so that whoever stops the suite waits for no sender."""
        self._stopping.set()

    def finish(self) -> None:
        """Wait until everything that was begun is accepted."""
        for timer in self._timers:
            try:
                timer.result(180)
            except Exception as error:  # told with the round's result
                self.failures.append(f"a sender: {type(error).__name__}: {error}")
        self._stopping.set()
        self._pool.shutdown()
        self._http.close()

    def _deliveries(
        self, at: float, occurrence: Occurrence, firing: JsonObject
    ) -> list[tuple[float, Callable[[], None]]]:
        first, target = occurrence.number, self._targets[occurrence.target]

        def begin() -> None:
            self._spoil(target, occurrence.bad)
            self._until_accepted(first, firing)

        found: list[tuple[float, Callable[[], None]]] = [(at, begin)]
        for number, later in enumerate(occurrence.copies, start=1):
            found.append((at + later, partial(self._copy, first + number, firing)))
        if occurrence.resolved_after is not None:
            ended = at + occurrence.resolved_after
            found.append((ended, lambda: self._until_accepted(first + 1, resolved(firing))))
        return found

    def _copy(self, number: int, document: JsonObject) -> None:
        """Deliver once, whatever the answer."""
        self._once(number, document)

    def _until_accepted(self, first: int, document: JsonObject) -> None:
        number = first
        while not self._once(number, document):
            number += 1
            if self._stopping.wait(_AGAIN_SECONDS):
                raise TimeoutError(f"{document['fingerprint']} of {document['startsAt']} was never accepted")

    def _once(self, number: int, document: JsonObject) -> bool:
        replica = self._fleet.replicas[number % len(self._fleet.replicas)]
        try:
            answer = self._http.post(
                f"{replica.url}/webhooks/alertmanager", json=payload(document), headers=self._headers
            )
            status = answer.status_code
        except httpx.HTTPError:
            status = 0
        with self._lock:
            self.answers[status] = self.answers.get(status, 0) + 1
            if 200 <= status < 300:
                now = time.monotonic()
                self.accepted.append(Accepted(now, replica.index, document["fingerprint"], document["startsAt"]))
        return 200 <= status < 300
