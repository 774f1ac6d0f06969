"""What the demo plays on: a configuration, a `uici serve` in a process of its own, and the services' ground."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from uici.access.roles import Role
from uici.bootstrap import open_tokens
from uici.cli.client import Client
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.ports import DemoGround

SERVICES = ("shop", "search", "mail")
_PATIENCE_SECONDS = 30.0


class DemoStage:
    """Use it as a context: everything it started has ended when it is left."""

    def __init__(self, ground: type[DemoGround]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="uici-demo-")
        self.config = Path(self._folder.name) / "config"
        self.config.mkdir()
        self.ground = ground(self.config, SERVICES)
        self.address = f"127.0.0.1:{_free_port()}"
        self._http = httpx.Client(trust_env=False, timeout=5.0)
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DemoStage:
        try:
            self.ground.open()
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
        self.ground.close()
        self._http.close()
        self._folder.cleanup()

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
        platform = self.ground.platform
        targets = {
            name: {"summary": f"the demo's {name}", "bindings": {platform: self.ground.binding(name)}}
            for name in SERVICES
        }
        environment = {"platform": platform, "connection": self.ground.connection()}
        # JSON is YAML, and needs no writer of its own.
        for file, document in {
            "targets.yml": {"targets": targets},
            "environments.yml": {"default": platform, "environments": {platform: environment}},
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


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])
