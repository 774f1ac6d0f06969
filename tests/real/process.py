"""A real server as a child process: started, waited for by its ready address, stopped by its id."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.real.web import web

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServerStartError(RuntimeError):
    """The message holds the end of the server's log."""


def tail(log: Path, characters: int = 4000) -> str:
    """The end of a log file, or a word when there is none."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else "(no log)"


@contextmanager
def running(argv: Sequence[str], *, ready_url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `argv` with its output in `log` until the block ends; enter it when `ready_url` answers 200.

    Raises ServerStartError when the process ends first or is not ready within a minute.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_ready(process, ready_url, log)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and end it when it does not; a process that is gone already is left alone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


def _wait_ready(process: subprocess.Popen[bytes], ready_url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    last = "no answer yet"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerStartError(f"{process.args!r} ended with status {process.returncode}:\n{tail(log)}")
        try:
            answer = web.get(ready_url, timeout=2.0)
            if answer.status_code == httpx.codes.OK:
                return
            last = f"HTTP {answer.status_code}"
        except httpx.TransportError as error:
            last = str(error)
        time.sleep(0.05)
    raise ServerStartError(f"{ready_url} not ready within {START_SECONDS:g} s ({last}):\n{tail(log)}")


def processes(*attributes: str) -> Iterator[psutil.Process]:
    """All processes as they are now, with `info` of these attributes.

    psutil remembers a process by its id, and would not kill another one that has the id by now.
    """
    psutil.process_iter.cache_clear()
    return psutil.process_iter(attributes)


def end_supervisors(folder: Path) -> None:
    """Kill every supervisord whose configuration lies below `folder`, and all that it runs.

    Services outlive UICI on purpose; the tests do not. Found by its command line, since one that is just starting
    again has no file with its process id.
    """
    family: list[psutil.Process] = []
    for process in processes("cmdline"):
        words = process.info["cmdline"] or ()
        if any(word.startswith(f"{folder}/") and word.endswith("/supervisord.conf") for word in words):
            with contextlib.suppress(psutil.NoSuchProcess):
                family += [*process.children(recursive=True), process]
    for process in reversed(family):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + STOP_SECONDS
    while any(_lives(process) for process in family):
        if time.monotonic() > deadline:
            raise TimeoutError(f"supervisord below {folder} did not end")
        time.sleep(0.02)


def _lives(process: psutil.Process) -> bool:
    # Whoever adopts a zombie takes its time; a dead process holds nothing any more.
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
