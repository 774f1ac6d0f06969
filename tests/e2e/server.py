"""A `uici serve` in a process of its own, as people run it, with tokens and a client for the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.real.components import free_port
from tests.waiting import until
from uici.access.roles import Role
from uici.bootstrap import open_tokens
from uici.model.base import JsonObject

PATIENCE_SECONDS = 90.0


ENTRY = "from uici.cli import main; main()"


class Server:
    """One UICI on a configuration folder. `entry` is the Python code that the process runs.

    One that is `like` another shares its state, and so its tokens.
    """

    def __init__(
        self,
        config: Path,
        *,
        entry: str = ENTRY,
        name: str | None = None,
        like: Server | None = None,
    ) -> None:
        self.config = config
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.name = name or config.name
        self.log = config.parent / f"{self.name}.log"
        self._entry = entry
        self._process: subprocess.Popen[bytes] | None = None
        self.tokens: dict[Role, str] = like.tokens if like is not None else _tokens(config)
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30.0)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.http.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self, environment: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        """Start it; with `wait` until it is ready."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    self._entry,
                    "serve",
                    "--config",
                    str(self.config),
                    "--listen",
                    f"127.0.0.1:{self.port}",
                ],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                cwd=self.config.parent,
            )
        if wait:
            until(self.ready, "uici serve to be ready", self.tail)

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"uici serve ended with {self.process.returncode}:\n{self.tail()}")
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"uici serve did not end on SIGTERM:\n{self.tail()}") from None

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def headers(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    def post(self, path: str, body: JsonObject, role: Role = Role.OPERATOR) -> httpx.Response:
        return self.http.post(path, json=body, headers=self.headers(role))

    def get(self, path: str, role: Role = Role.VIEWER) -> Any:
        answer = self.http.get(f"/api/v1{path}", headers=self.headers(role))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, payload: JsonObject) -> httpx.Response:
        return self.post("/webhooks/alertmanager", payload, Role.ALERTMANAGER)

    def run_step(self, target: str, operation: str, environment: str, **parameters: object) -> JsonObject:
        """Start a hand-written plan of one step and wait for the end of its run."""
        step = {"operation": operation, "target": target, "parameters": parameters}
        body = {"plan": {"environment": environment, "steps": [step], "reason": "test"}}
        started = self.post("/api/v1/runs", body)
        assert started.status_code == 202, started.text
        return self.ended(started.json()["id"])

    def ended(self, run: str) -> JsonObject:
        """The run once it has ended."""
        until(lambda: self.get(f"/runs/{run}")["state"] == "ended", f"the end of {run}", lambda: self.explain(run))
        found: JsonObject = self.get(f"/runs/{run}")
        return found

    def explain(self, run: str) -> str:
        return json.dumps(self.get(f"/runs/{run}"), indent=1)[:4000] + "\n" + self.tail()


def _tokens(config: Path) -> dict[Role, str]:
    with open_tokens(config, None) as tokens:
        return {role: tokens.create(role, f"test-{role}") for role in Role}


def write_site(folder: Path, **files: JsonObject) -> Path:
    """A configuration folder; JSON is YAML. Keys are file names without `.yml`."""
    folder.mkdir(parents=True)
    files.setdefault("platform", {"self": {"names": ["uici"]}})
    for name, document in files.items():
        (folder / f"{name}.yml").write_text(json.dumps(document))
    return folder


def payload(*alerts: JsonObject, truncated: int = 0) -> JsonObject:
    """A webhook body of Alertmanager's version 4."""
    status = "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved"
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "receiver": "uici",
        "status": status,
        "alerts": list(alerts),
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093",
        "truncatedAlerts": truncated,
    }


def alert(name: str, target: str, *, fingerprint: str, starts: datetime | None = None, **labels: str) -> JsonObject:
    """One firing alert about a target."""
    return {
        "status": "firing",
        "labels": {"alertname": name, "severity": "critical", "uici_target": target, **labels},
        "annotations": {},
        "startsAt": (starts or datetime.now(UTC)).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": fingerprint,
    }


def resolved(firing: JsonObject) -> JsonObject:
    """The end of an alert."""
    return firing | {"status": "resolved", "endsAt": datetime.now(UTC).isoformat()}
