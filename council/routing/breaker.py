"""The circuit breaker of one backend: after failures in a row it is left alone, then tried with one request.

Source: https://martinfowler.com/bliki/CircuitBreaker.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from council.settings import BreakerSettings


class Breaker:
    """Not for several threads."""

    def __init__(self, settings: BreakerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0
        """Until when nobody may ask: a failure, or a wish to be asked later."""
        self._trying = False

    @property
    def wait_seconds(self) -> float:
        """How long it is left alone; 0 when it may be asked."""
        return max(0.0, self._closed_until - self._clock())

    @property
    def open(self) -> bool:
        """Whether it is left alone, or is being tried by a single request."""
        return self.wait_seconds > 0 or self._trying

    @property
    def state(self) -> Literal["closed", "open", "trying"]:
        """`closed` where it is asked as usual, `open` where it is left alone, `trying` where one request finds out."""
        if self.wait_seconds > 0:
            return "open"
        return "trying" if self._failures >= self._settings.failures else "closed"

    @property
    def failures(self) -> int:
        """How many there were, one after the other."""
        return self._failures

    def enter(self) -> bool:
        """Take leave to ask; each leave is followed by `succeeded`, `failed` or `left`."""
        if self.open:
            return False
        self._trying = self._failures >= self._settings.failures
        return True

    def succeeded(self) -> None:
        """It answered."""
        self._failures, self._trying = 0, False

    def failed(self) -> None:
        """It did not answer as it should."""
        self._failures += 1
        self._trying = False
        if self._failures >= self._settings.failures:
            self._closed_until = self._clock() + self._settings.open_seconds

    def left(self, retry_seconds: float | None = None) -> None:
        """Nothing was learnt; with `retry_seconds` it asked to be left alone for that long."""
        self._trying = False
        if retry_seconds is not None:
            self._closed_until = max(self._closed_until, self._clock() + retry_seconds)
