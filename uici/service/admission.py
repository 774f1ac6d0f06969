"""Whether a notification is taken at all: bytes on their way, the wait for an answer, memory, room on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import structlog

from uici.model.errors import Problem, ProblemKind
from uici.model.settings import IntakeSettings, ServiceSettings

_LOOK_SECONDS = 1.0
"""How old what is known of memory and disk may be."""
_SHARE = 0.8
_CGROUP = Path("/sys/fs/cgroup/memory.max")

_log = structlog.get_logger(__name__)


class Admission:
    """The door of the webhook. In the event loop only."""

    def __init__(
        self,
        service: ServiceSettings,
        intake: IntakeSettings,
        free_bytes: Callable[[], int | None],
        wait: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`wait` says for how many seconds a request that comes now will wait for its turns."""
        self._service = service
        self._intake = intake
        self._free_bytes = free_bytes
        self._wait = wait
        self._memory = service.memory_bytes or round(_memory_there_is() * _SHARE)
        self._process = psutil.Process()
        self._held = 0
        self._looked_at = float("-inf")
        self._refusal: Problem | None = None

    def refusal(self, declared: int | None) -> Problem | None:
        """Why a body of so many bytes is not taken now; None when it is. A single one always finds room."""
        if self._held and self._held + self._size(declared) > self._service.body_bytes:
            return _full("too_many_bytes", f"{self._held} bytes of notifications are on their way already")
        wait = self._wait() if self._held else 0.0
        if wait > self._intake.wait_seconds:
            return _full("service_slow", f"an answer would wait for {wait:.1f} s, since the process has too much to do")
        self._look()
        return self._refusal

    @contextmanager
    def holding(self, declared: int | None) -> Iterator[None]:
        """While a body of so many bytes is read, parsed, or waits for its commit."""
        size = self._size(declared)
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    def _size(self, declared: int | None) -> int:
        """One that declares nothing counts as the largest."""
        most = self._service.max_body_bytes
        return most if declared is None else min(declared, most)

    def _look(self) -> None:
        # Nobody is sent away for what may be over.
        if self._refusal is None and time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        before, self._refusal = self._refusal, self._found()
        if self._refusal is not None and before is None:
            _log.warning("alerts_refused", because=self._refusal.detail)

    def _found(self) -> Problem | None:
        used = self._process.memory_info().rss
        if used > self._memory:
            return _full("memory_short", f"{used} bytes of memory are in use, of {self._memory} that may be")
        try:
            free = self._free_bytes()
        except OSError as error:
            return _full("disk_unreadable", f"how much room the state has left could not be read: {error.strerror}")
        if free is not None and free < self._intake.least_free_bytes:
            least = self._intake.least_free_bytes
            return _full("disk_short", f"{free} bytes are left where the state lies, {least} are needed")
        return None


def _memory_there_is() -> int:
    """Of the machine, or of the container that it runs in where that has less."""
    machine: int = psutil.virtual_memory().total
    try:
        limit = int(_CGROUP.read_text())
    except (OSError, ValueError):  # none, or `max`
        return machine
    return min(machine, limit)


def _full(code: str, detail: str) -> Problem:
    return Problem(
        ProblemKind.UNAVAILABLE,
        code,
        detail,
        hint="nothing was accepted; send it again (Alertmanager does so by itself); /readyz says more",
    )
