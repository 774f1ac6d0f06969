"""Processes that serve HTTP for a benchmark: UICI over services in memory, and the barest service beside it.

Belongs here: what such a process runs, and a client that costs little. Does not belong here: what is measured.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.doubles.memory_executor import World
from tests.real.components import REPOSITORY, free_port
from uici.model.call import Call

UICI = "from tests.benchmarks.served import uici; uici()"
"""What the process of a `tests.e2e.server.Server` runs."""
HANGING = "UICI_BENCH_HANGS"
_PATIENCE_SECONDS = 30.0
_NEVER = threading.Event()


def uici() -> None:
    """`uici serve` whose platform is memory; with HANGING set no call of it ever answers."""
    from uici.bootstrap import application

    world = World()
    if os.environ.get(HANGING):
        world.hook = _hang
    classes = {"local": world.executor_class()}
    application.discover_executors = lambda: classes  # type: ignore[attr-defined]  # a platform of the benchmark's own

    from uici.cli import main

    main()


def _hang(moment: str, environment: str, call: Call) -> None:
    _NEVER.wait()


def bare(port: int, state: str) -> None:
    """A route that parses JSON and commits the body in one row, as durably as UICI does; and one that answers only."""
    connection = sqlite3.connect(state, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    app = FastAPI()

    @app.post("/webhooks/alertmanager")
    async def keep(request: Request) -> JSONResponse:
        body = await request.body()
        await request.json()
        connection.execute("INSERT INTO bodies (body) VALUES (?)", (body.decode(),))
        return JSONResponse({}, status_code=202)

    @app.post("/api/v1/plans:preview")
    async def answer(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse({})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


@dataclass(frozen=True)
class Bare:
    """The barest service, in a process of its own."""

    port: int
    pid: int


@contextmanager
def bare_service(folder: Path) -> Iterator[Bare]:
    """The barest service while the block runs."""
    port = free_port()
    entry = f"from tests.benchmarks.served import bare; bare({port}, {str(folder / 'bare.db')!r})"
    process = Popen([sys.executable, "-c", entry], cwd=REPOSITORY)
    try:
        _until_listening(port)
        yield Bare(port, process.pid)
    finally:
        process.terminate()
        process.wait()


class Connection:
    """One kept connection that sends requests made beforehand, so that the client costs next to nothing."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, made: bytes) -> int:
        """Send a request, read the whole answer; its status."""
        self._socket.sendall(made)
        head, _, body = self._more(b"").partition(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        while len(body) < length:
            body += self._socket.recv(65536)
        return int(head.split(b" ", 2)[1])

    def until(self, made: bytes, *wanted: bytes) -> None:
        """Send a request, and read until one of these bytes has come."""
        self._socket.sendall(made)
        got = b""
        while not any(each in got for each in wanted):
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError(f"the connection was closed after {got[-200:]!r}")
            got += chunk

    def close(self) -> None:
        self._socket.close()

    def _more(self, got: bytes) -> bytes:
        while b"\r\n\r\n" not in got:
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("the connection was closed")
            got += chunk
        return got


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A POST as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def volley(port: int, requests: Sequence[bytes], *, connections: int, wanted: int) -> tuple[float, list[float]]:
    """Send all over several connections at once: seconds for all, and milliseconds of each.

    Raises RuntimeError when an answer has another status than `wanted`.
    """

    def worker(number: int) -> list[float]:
        connection = Connection(port)
        took = []
        try:
            for made in requests[number::connections]:
                begun = time.perf_counter()
                status = connection.send(made)
                took.append((time.perf_counter() - begun) * 1000)
                if status != wanted:
                    raise RuntimeError(f"answered {status} instead of {wanted}")
        finally:
            connection.close()
        return took

    begun = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        each = [value for values in pool.map(worker, range(connections)) for value in values]
    return time.perf_counter() - begun, each


def processor_seconds(pid: int) -> float:
    """The processor time that a process has used so far."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            Connection(port).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
