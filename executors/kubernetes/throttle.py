"""How often the API server is asked: a bucket of tokens, as its own clients have it."""

from __future__ import annotations

import threading
import time

from executors.deadline import Deadline


class Throttle:
    """At most `burst` requests at once and `rate` per second over time. Safe for several threads."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def take(self, deadline: Deadline) -> bool:
        """Wait for the next request's turn; False, at once, when it comes only after the deadline."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
            self._at = now
            wait = max(0.0, (1.0 - self._tokens) / self._rate)
            if wait > deadline.left():
                return False
            # The turn is taken now, so that who comes later waits behind it.
            self._tokens -= 1.0
        if wait:
            time.sleep(wait)
        return True
