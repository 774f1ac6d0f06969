"""How the last requests went, over sliding windows: what a person or a page asks for without a Prometheus beside it."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from uici.model.base import JsonObject

SPANS = {"5m": 300.0, "1h": 3600.0}
"""The windows, in seconds."""
_MOST = 10_000
"""Requests of one window. Where there were more in its time, it says that it is not complete."""


@dataclass(frozen=True, slots=True)
class _Done:
    at: float
    seconds: float | None
    """Until the first content; None for a failure."""
    cost: float


class Window:
    """The last requests of one route or backend. Safe from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: deque[_Done] = deque(maxlen=most)
        self._lost_at = float("-inf")

    def answered(self, seconds: float, cost: Decimal) -> None:
        """A request that had its first content after so long, and cost so many dollars."""
        self._add(seconds, float(cost))

    def failed(self) -> None:
        """A request that has no answer, or half of one."""
        self._add(None, 0.0)

    def since(self, seconds: float) -> tuple[list[_Done], bool]:
        """The requests of the last `seconds`, and whether these are all."""
        begin = self._clock() - seconds
        with self._lock:
            return [each for each in self._last if each.at >= begin], self._lost_at < begin

    def _add(self, seconds: float | None, cost: float) -> None:
        with self._lock:
            if len(self._last) == self._last.maxlen:
                self._lost_at = self._last[0].at
            self._last.append(_Done(self._clock(), seconds, cost))


class Windows:
    """One window for each name, made when it is first asked for."""

    def __init__(self) -> None:
        self._known: dict[str, Window] = {}

    def of(self, name: str) -> Window:
        """The window of this name; the same one each time."""
        return self._known.setdefault(name, Window())


def summary(windows: Iterable[Window]) -> JsonObject:
    """What several windows say together: requests, error rate, latencies and cost. What nobody measured is null."""
    windows = list(windows)
    return {name: _summed(windows, seconds) for name, seconds in SPANS.items()}


def _summed(windows: list[Window], span: float) -> JsonObject:
    found = [window.since(span) for window in windows]
    done = [each for last, _ in found for each in last]
    seconds = [each.seconds for each in done if each.seconds is not None]
    errors = len(done) - len(seconds)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return {
        "requests": len(done),
        "errors": errors,
        "error_rate": errors / len(done) if done else None,
        "latency_ms": {f"p{cut}": round(cuts[cut - 1] * 1000, 3) if cuts else None for cut in (50, 95, 99)},
        "cost_usd": round(sum(each.cost for each in done), 9),
        "complete": all(complete for _, complete in found),
    }
