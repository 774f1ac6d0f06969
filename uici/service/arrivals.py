"""Results of another thread, brought to the event loop together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Arrivals(Generic[_T]):
    """Wakes the event loop once for all results that came before it looked.

    `asyncio.wrap_future` wakes it for each: a system call of the thread that makes the results, which then has to wait
    for the interpreter's lock again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrived: deque[tuple[asyncio.Future[_T], Future[_T]]] = deque()

    def of(self, future: Future[_T]) -> asyncio.Future[_T]:
        """What becomes of `future`, to be awaited. In the event loop."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        future.add_done_callback(lambda done: self._arrive(loop, answer, done))
        return answer

    def _arrive(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[_T], done: Future[_T]) -> None:
        with self._lock:
            first = not self._arrived
            self._arrived.append((answer, done))
        if first and not loop.is_closed():
            loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, deque()
        for answer, done in arrived:
            if answer.done():
                continue  # nobody waits any more
            error = done.exception()
            if error is None:
                answer.set_result(done.result())
            else:
                answer.set_exception(error)
