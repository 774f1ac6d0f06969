"""What the demo plays on: a folder with a configuration, a `uici serve` in a process of its own, three services."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from uici.access.roles import Role
from uici.bootstrap import open_tokens
from uici.cli.client import Client
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind

SERVICES = ("shop", "search", "mail")
_SERVICE = Path(__file__).with_name("service.py")
_PATIENCE_SECONDS = 30.0


class DemoStage:
    """Use it as a context: everything it started has ended when it is left."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="uici-demo-")
        self.config = Path(self._folder.name) / "config"
        self.ports = dict(zip(SERVICES, _free_ports(len(SERVICES)), strict=True))
        self.address = f"127.0.0.1:{_free_ports(1)[0]}"
        self._http = httpx.Client(trust_env=False, timeout=5.0)
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DemoStage:
        try:
            self._write_config()
            with open_tokens(self.config, None) as tokens:
                self._sender = tokens.create(Role.ALERTMANAGER, "demo-alertmanager")
                self.operator = Client(f"http://{self.address}", tokens.create(Role.OPERATOR, "demo-operator"))
                self.approver = Client(f"http://{self.address}", tokens.create(Role.APPROVER, "demo-approver"))
            self._start_server()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        # The services outlive their healer by design; here nothing is to be left.
        for pidfile in self.config.rglob("supervisord.pid"):
            _end(pidfile)
        self._http.close()
        self._folder.cleanup()

    # --- the services ---------------------------------------------------------------------------------------

    def healthy(self, service: str) -> bool:
        """Whether the service answers."""
        try:
            return self._http.get(f"http://127.0.0.1:{self.ports[service]}/health", timeout=1.0).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self, service: str) -> None:
        """End the service's process as a crash would."""
        for process in psutil.process_iter(["cmdline"]):
            if str(_SERVICE) in (process.info["cmdline"] or []) and str(self.ports[service]) in process.info["cmdline"]:
                process.kill()

    def order(self, service: str) -> None:
        """Use the service as its clients would; a service that ends meanwhile need not answer."""
        with suppress(httpx.TransportError):
            self._http.post(f"http://127.0.0.1:{self.ports[service]}/order")

    def hang(self, service: str) -> None:
        """Let the service's process live on without answering."""
        self._http.post(f"http://127.0.0.1:{self.ports[service]}/hang")

    # --- the monitoring -------------------------------------------------------------------------------------

    def alert(self, name: str, service: str, *, resolved: JsonObject | None = None) -> JsonObject:
        """One alert in Alertmanager's format; with `resolved` the end of that one."""
        alert: JsonObject = resolved or {
            "labels": {"alertname": name, "severity": "critical", "service": service},
            "annotations": {"summary": f"{name}: {service}"},
            "startsAt": datetime.now(UTC).isoformat(),
            "generatorURL": "",
            "fingerprint": secrets.token_hex(8),
        }
        status = "resolved" if resolved else "firing"
        ends = datetime.now(UTC).isoformat() if resolved else "0001-01-01T00:00:00Z"
        return alert | {"status": status, "endsAt": ends}

    def payload(self, alert: JsonObject) -> JsonObject:
        """A webhook body with this one alert."""
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{alert["labels"]["alertname"]}"}}',
            "receiver": "uici",
            "status": alert["status"],
            "alerts": [alert],
            "groupLabels": {},
            "commonLabels": alert["labels"],
            "commonAnnotations": alert["annotations"],
            "externalURL": "http://127.0.0.1:9093",
            "truncatedAlerts": 0,
        }

    def send(self, alert: JsonObject) -> JsonObject:
        """POST it as Alertmanager does; the answer."""
        answer = self._http.post(
            f"http://{self.address}/webhooks/alertmanager",
            json=self.payload(alert),
            headers={"Authorization": f"Bearer {self._sender}"},
        )
        answer.raise_for_status()
        accepted: JsonObject = answer.json()
        return accepted

    def until(self, what: str, check: Callable[[], bool]) -> None:
        """Wait until `check` holds. Raises Problem when it does not in half a minute."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not check():
            if time.monotonic() > end:
                raise Problem(
                    ProblemKind.UNAVAILABLE, "demo_failed", f"waited {_PATIENCE_SECONDS:g} s in vain for: {what}"
                )
            time.sleep(0.1)

    # --- beginning ------------------------------------------------------------------------------------------

    def _write_config(self) -> None:
        self.config.mkdir()
        targets = {
            name: {
                "summary": f"the demo's {name}",
                "bindings": {
                    "local": {
                        "program": name,
                        "command": [sys.executable, "-I", str(_SERVICE), name, str(port)],
                        "version": "1.0",
                        "versions": {"1.0": {}, "2.0": {"environment": {"DEMO_COLOUR": "mauve"}}},
                        "health": {"http": f"http://127.0.0.1:{port}/health", "timeout": 1.0},
                        "stop_seconds": 1,
                    }
                },
            }
            for name, port in self.ports.items()
        }
        # JSON is YAML, and needs no writer of its own.
        for file, document in {
            "targets.yml": {"targets": targets},
            "policies.yml": {"autonomy": "auto", "cooldown": {"seconds": 0}},
            "platform.yml": {"service": {"listen": self.address}},
        }.items():
            (self.config / file).write_text(json.dumps(document, indent=1))

    def _start_server(self) -> None:
        log = self.config.parent / "uici.log"
        with log.open("wb") as output:
            self._server = subprocess.Popen(  # noqa: S603  # our own interpreter, our own arguments
                [sys.executable, "-c", "from uici.cli import main; main()", "serve", "--config", str(self.config)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self.config.parent,
            )

        def ready() -> bool:
            if self._server is not None and self._server.poll() is not None:
                raise Problem(
                    ProblemKind.UNAVAILABLE, "demo_failed", f"uici serve ended at once: {log.read_text()[-2000:]}"
                )
            try:
                return self._http.get(f"http://{self.address}/readyz").status_code == 200
            except httpx.HTTPError:
                return False

        self.until("uici serve", ready)


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
