"""Running a program of this machine to look at something: no shell, little environment, bounded, and surely ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from executors.diagnostics import MARK, LookLimits, Output
from uici.model.call import CallError, FailureKind

# Not UICI's own environment: that holds UICI's secrets.
_INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
_END_SECONDS = 5.0
_POLL_SECONDS = 0.05


def diagnose(argv: Sequence[str], directory: str, limits: LookLimits) -> Output:
    """Run `argv` until it ends, has written enough or time is over; nothing that it started is left behind.

    Raises CallError PERMANENT: `program_not_started`, or `diagnostic_not_ended` for what even SIGKILL does not end.
    """
    mark = secrets.token_hex(16)
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {MARK: mark}
    deadline = time.monotonic() + limits.diagnostic_seconds
    try:
        process = subprocess.Popen(  # noqa: S603 - a whole argument list of the site's own configuration
            list(argv),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CallError(
            FailureKind.PERMANENT,
            "program_not_started",
            f"the diagnostic's program {argv[0]!r:.200} could not be started in {directory}: {reason}",
        ) from None
    try:
        content = _read(process, deadline, limits.output_bytes)
        if len(content) <= limits.output_bytes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        code = process.poll()
        _end(process, mark)
    cut = len(content) > limits.output_bytes
    return Output(
        content=content[: limits.output_bytes],
        exit_code=None if code is None else (128 - code if code < 0 else code),
        cut=cut,
        timed_out=code is None and not cut,
    )


def _read(process: subprocess.Popen[bytes], deadline: float, limit: int) -> bytes:
    """What it wrote until it ended or time was over; at most a little over the limit."""
    content = bytearray()
    with selectors.DefaultSelector() as selector:
        if process.stdout is None:
            return b""
        descriptor = process.stdout.fileno()
        selector.register(descriptor, selectors.EVENT_READ)
        while len(content) <= limit:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if selector.select(min(left, _POLL_SECONDS)):
                part = os.read(descriptor, 65536)
                if not part:
                    break
                content += part
            elif process.poll() is not None:
                break  # it has ended; something that it left behind still holds the pipe
    return bytes(content)


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """End the program, its group, and whatever else inherited its mark."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    deadline = time.monotonic() + _END_SECONDS
    while True:
        left = _marked(mark)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
        if not left and process.returncode is not None:
            return
        if time.monotonic() > deadline:
            raise CallError(
                FailureKind.PERMANENT,
                "diagnostic_not_ended",
                f"processes {', '.join(map(str, left)) or process.pid} of a diagnostic could not be ended, not even by "
                "SIGKILL: the kernel holds them, often for a disk or a network file system that does not answer",
            )
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            # Read raw: psutil parses every variable of every process.
            environ = Path(f"/proc/{pid}/environ")
            variables = environ.read_bytes() if environ.exists() else _environ(pid)
            if wanted in variables and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def _environ(pid: int) -> bytes:
    # Without /proc (macOS) psutil knows how to ask.
    return b"\0".join(f"{name}={value}".encode() for name, value in psutil.Process(pid).environ().items())
