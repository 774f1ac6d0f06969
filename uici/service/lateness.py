"""How late the event loop is: what a load of processors or of other threads does to requests before they are seen."""

from __future__ import annotations

import asyncio
import time

_LOOK_SECONDS = 0.025
_TURNS = 4
"""Of the loop, until a notification is answered: its bytes, its task, its commit that is done, its answer."""


class Lateness:
    """Tells by how much a timer of the event loop comes late. To be asked by any thread."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._late = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look. In the event loop."""
        self._set(asyncio.get_running_loop())

    def stop(self) -> None:
        """Look no longer."""
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._late = None, 0.0

    def of_an_answer(self) -> float:
        """For how many seconds a request that comes now waits for its turns, beside all that is done for it."""
        due = self._due
        # A timer that is overdue by more than the last was tells what that one did not know yet.
        overdue = time.monotonic() - due if due is not None else 0.0
        return _TURNS * max(self._late, overdue)

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + _LOOK_SECONDS
        self._timer = loop.call_later(_LOOK_SECONDS, self._look, loop, self._due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._late = max(0.0, time.monotonic() - due)
        self._set(loop)
