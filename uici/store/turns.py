"""Whose turn it is to write: SQLite has one writer at a time, and lets those who wait for it poll."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that is handed over in order of arrival, the urgent before the others.

    The database's own lock is polled with growing pauses, so under load a writer without luck waits for seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._urgent: deque[threading.Event] = deque()
        self._others: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, *, urgent: bool = False) -> Iterator[None]:
        """Wait for the turn, and hand it on when the block ends. Not reentrant."""
        mine: threading.Event | None = None
        with self._lock:
            if self._taken:
                mine = threading.Event()
                (self._urgent if urgent else self._others).append(mine)
            self._taken = True
        if mine is not None:
            mine.wait()
        try:
            yield
        finally:
            with self._lock:
                waiting = self._urgent or self._others
                if waiting:
                    waiting.popleft().set()
                else:
                    self._taken = False
