"""How long a call may still take; for every executor alike."""

from __future__ import annotations

import time


class Deadline:
    """A moment that no wait goes beyond."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self._end - time.monotonic())
