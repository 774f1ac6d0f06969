"""What waits for its commit: bounded, and fair between senders."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class FullError(Exception):
    """There is no room for this sender."""


class FairQueue(Generic[_T]):
    """First come, first served for each sender; between senders in turn.

    Of `most` places a sender alone may have all. Beyond them a sender is still let in who has less than an equal share,
    so that one who fills the queue locks nobody out: in all never more than twice as many wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._news = threading.Condition()
        self._waiting: OrderedDict[str, deque[tuple[float, _T]]] = OrderedDict()
        self._size = 0
        self._closed = False

    def put(self, sender: str, item: _T) -> None:
        """Add one at the end of its sender's. Raises FullError."""
        with self._news:
            if self._closed:
                raise FullError
            own = self._waiting.get(sender)
            if self._size >= self._most:
                share = self._most // (len(self._waiting) + (own is None))
                if self._size >= 2 * self._most or (0 if own is None else len(own)) >= share:
                    raise FullError
            if own is None:
                own = self._waiting[sender] = deque()
            own.append((time.monotonic(), item))
            self._size += 1
            self._news.notify()

    def get(self, timeout: float | None = None) -> _T | None:
        """The next in turn; None when nothing has come within `timeout`, or the queue is closed and empty."""
        with self._news:
            self._news.wait_for(lambda: self._size or self._closed, timeout)
            if not self._size:
                return None
            sender, own = next(iter(self._waiting.items()))
            _, item = own.popleft()
            if own:
                self._waiting.move_to_end(sender)
            else:
                del self._waiting[sender]
            self._size -= 1
            return item

    def close(self) -> None:
        """Wake whoever waits for more; what is here can still be taken."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        with self._news:
            return self._closed and not self._size

    def __len__(self) -> int:
        return self._size

    def longest_wait(self, sender: str) -> float:
        """For how many seconds the oldest of this sender has waited; 0 when none does."""
        with self._news:
            own = self._waiting.get(sender)
            return time.monotonic() - own[0][0] if own else 0.0
