"""Replicas as forks of one process that has everything imported: so starting one costs a fraction of a second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import connection, forkserver
from pathlib import Path

from tests.real.components import faketime_library

_PRELOADED = [
    "tests.chaos.rounds",
    "tests.chaos.platform",
    "uici.cli.app",
    "uici.bootstrap",
    "uvicorn",
    *(f"executors.{platform}" for platform in ("local", "docker", "kubernetes", "oci")),
]
_FAKETIME = {
    "FAKETIME_NO_CACHE": "1",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "FAKETIME_DONT_RESET": "1",
    "NO_FAKE_STAT": "1",
}
_CLOCK = "FAKETIME_TIMESTAMP_FILE"

_context = multiprocessing.get_context("forkserver")


class Forked:
    """A process that ends with the suite, however that ends."""

    def __init__(
        self, work: Callable[..., None], *arguments: object, log: Path, environment: Mapping[str, str], clock: Path
    ) -> None:
        """`clock` is a file that says by how much the clock of the process is wrong."""
        _prepare(clock)
        settled = {**environment, _CLOCK: str(clock)}
        self._process = _context.Process(target=_begin, args=(log, settled, work, arguments), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._lock = threading.Lock()

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs. The number of a signal is below zero."""
        with self._lock:  # two that look at once would read the one status twice
            return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int | None:
        """Its status, once it has ended; None where it has not within that time."""
        connection.wait([self._process.sentinel], seconds)
        return self.status

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.status is None:
            os.kill(self.pid, number)


def _prepare(clock: Path) -> None:
    """Start the process that the others are forks of, if it does not run."""
    _context.set_forkserver_preload(_PRELOADED)
    library = faketime_library()
    faked = {**_FAKETIME, "LD_PRELOAD": str(library), _CLOCK: str(clock)} if library is not None else {}
    before = dict(os.environ)
    os.environ.update(faked)
    try:
        forkserver.ensure_running()
    finally:
        for name in faked:
            os.environ.pop(name)
        os.environ.update({name: before[name] for name in faked if name in before})


def _begin(log: Path, environment: Mapping[str, str], work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    threading.Thread(target=_end_with_the_suite, daemon=True).start()
    with log.open("ab") as output:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # they are what the interpreter made
    os.environ.update(environment)
    work(*arguments)


def _end_with_the_suite() -> None:
    suite = multiprocessing.parent_process()
    assert suite is not None
    suite.join()
    os.kill(os.getpid(), signal.SIGKILL)
