"""What is measured of one side, of its last requests."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from council.canary.judging import Seen

_MOST = 20_000
"""Requests of one side. Older ones no longer count."""


@dataclass(frozen=True, slots=True)
class _Sample:
    seconds: float | None
    cost: float


class Samples:
    """Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[_Sample] = deque(maxlen=_MOST)

    def answered(self, seconds: float, cost: Decimal) -> None:
        """A request that had its first content after so long, and cost so many dollars."""
        with self._lock:
            self._last.append(_Sample(seconds, float(cost)))

    def failed(self) -> None:
        """A request that the backend is to blame for having no answer."""
        with self._lock:
            self._last.append(_Sample(None, 0.0))

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._last.clear()

    def seen(self) -> Seen:
        """What there is now."""
        with self._lock:
            last = tuple(self._last)
        seconds = [each.seconds for each in last if each.seconds is not None]
        return Seen(len(last), len(last) - len(seconds), seconds, sum(each.cost for each in last))
