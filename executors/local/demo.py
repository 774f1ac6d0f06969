"""The ground of `uici demo` on this machine: processes under the supervisor that UICI starts."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import httpx
import psutil

from uici.model.base import JsonObject

_SERVICE = Path(__file__).with_name("demo_service.py")
_PATIENCE_SECONDS = 30.0


class LocalDemo:
    """Implements `uici.ports.DemoGround`."""

    platform: ClassVar[str] = "local"
    simulation: ClassVar[str] = ""
    opening: ClassVar[str] = "{count} services start under the supervisor"

    def __init__(self, folder: Path, services: Sequence[str]) -> None:
        """Take a free port for each service; nothing is started."""
        self._folder = folder
        self._ports = dict(zip(services, _free_ports(len(services)), strict=True))
        self._http = httpx.Client(trust_env=False, timeout=5.0)

    def open(self) -> None:
        """Nothing: UICI starts the services itself."""

    def connection(self) -> JsonObject:
        """The supervisor needs none."""
        return {}

    def binding(self, service: str) -> JsonObject:
        """A program in two versions, of which the second does not survive its first order."""
        port = self._ports[service]
        return {
            "program": service,
            "command": [sys.executable, "-I", str(_SERVICE), service, str(port)],
            "version": "1.0",
            "versions": {"1.0": {}, "2.0": {"environment": {"DEMO_COLOUR": "mauve"}}},
            "health": {"http": f"http://127.0.0.1:{port}/health", "timeout": 1.0},
            "stop_seconds": 1,
        }

    def healthy(self, service: str) -> bool:
        """Whether the service answers."""
        try:
            answer = self._http.get(f"http://127.0.0.1:{self._ports[service]}/health", timeout=1.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def kill(self, service: str) -> None:
        """End the service's process as a crash would."""
        psutil.process_iter.cache_clear()  # whoever has the id of a process that it remembers would not be killed
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if str(_SERVICE) in line and str(self._ports[service]) in line:
                process.kill()

    def hang(self, service: str) -> None:
        """Let the service's process live on without answering."""
        self._http.post(f"http://127.0.0.1:{self._ports[service]}/hang")

    def order(self, service: str) -> None:
        """Use the service as its clients would; a service that ends meanwhile need not answer."""
        with suppress(httpx.TransportError):
            self._http.post(f"http://127.0.0.1:{self._ports[service]}/order")

    def close(self) -> None:
        """End the services, which outlive their healer by design; here nothing is to be left."""
        for pidfile in self._folder.rglob("supervisord.pid"):
            _end(pidfile)
        self._http.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _end(pidfile: Path) -> None:
    try:
        process = psutil.Process(int(pidfile.read_text()))
    except (psutil.NoSuchProcess, ValueError, OSError):
        return  # it has ended already
    os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(_PATIENCE_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
