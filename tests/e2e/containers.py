"""The containers that the end-to-end tests break, and the engine's own word on what was done to them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from tests.real.components import free_port
from tests.real.docker import IMAGE, DockerEngine
from tests.real.web import web
from tests.waiting import until
from uici.model.base import JsonObject

# The image `late` loses its health after two seconds, and says why in its log.
_SERVE = """
echo "service_healthy 1" >/www/health
[ "$FROM_IMAGE" = late ] && echo "configuration error: unknown colour"
exec /bin/serve
"""
_UNINTERESTING = ("exec_", "health_status", "attach", "top")


@dataclass(frozen=True)
class EngineEvent:
    """One change of a container, as the engine itself recorded it."""

    action: str
    container: str
    at: float
    """Seconds since the epoch, from the event's nanoseconds."""


class Yard:
    """Containers on the engine's host network. Gone when the block ends; use one per test."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine
        self.client: Any = engine.client()
        self._since = time.time()
        self._made: list[str] = []

    def __enter__(self) -> Yard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        names = tuple(self._made)
        for container in self.client.containers(all=True):
            # What replaced a container carries its name, or a name made of it.
            if any(name.lstrip("/").startswith(names) for name in container["Names"]):
                self.client.remove_container(container["Id"], force=True, v=True)
        self.client.close()

    def run(self, name: str, *, tag: str = "good", **more: Any) -> Web:
        """Start a container of the test image and wait until it serves. Its /health is a page for Prometheus, so that
        `up` means healthy.
        """
        port = free_port()
        self._made.append(name)
        made = self.client.create_container(
            f"{IMAGE}:{tag}",
            command=["sh", "-c", _SERVE],
            name=name,
            environment={"PORT": str(port), "COLOUR": "blue"},
            host_config=self.client.create_host_config(network_mode="host"),
            **more,
        )
        self.client.start(made["Id"])
        web = Web(self, name, port)
        until(web.healthy, f"container {name} to serve")
        return web

    def environment(self, **more: object) -> JsonObject:
        """The entry of environments.yml that reaches the engine."""
        return {"platform": "docker", "connection": {"base_url": self.engine.url}, **more}

    def events(self) -> list[EngineEvent]:
        """All changes of containers since the yard was opened or `forget` was called, without health checks."""
        query = {
            "since": f"{self._since:.9f}",
            "until": f"{time.time():.9f}",
            "decode": True,
            "filters": {"type": "container"},
        }
        return [
            EngineEvent(event["Action"], event["Actor"]["Attributes"]["name"], event["timeNano"] / 1e9)
            for event in self.client.events(**query)
            if not event["Action"].startswith(_UNINTERESTING)
        ]

    def times(self, action: str, name: str) -> list[float]:
        """When `action` was done to the container."""
        return [event.at for event in self.events() if event.action == action and event.container == name]

    def forget(self) -> None:
        """Count from now on."""
        self._since = time.time()


class Web:
    """One container that serves HTTP on a port of this machine."""

    def __init__(self, yard: Yard, name: str, port: int) -> None:
        self._yard = yard
        self.name = name
        self.address = f"127.0.0.1:{port}"

    def binding(self) -> JsonObject:
        """What it is to UICI."""
        return {
            "container": self.name,
            "health": {"http": f"http://{self.address}/health", "timeout": 2.0},
            "stop_seconds": 1,
        }

    def healthy(self) -> bool:
        """Whether /health answers 200."""
        try:
            return web.get(f"http://{self.address}/health", timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """SIGKILL, as `docker kill` sends it; returns when the engine knows that it is dead."""
        self._yard.client.kill(self.name)
        until(lambda: not self.inspected()["State"]["Running"], f"the death of {self.name}")

    def sicken(self) -> None:
        """Let it run on without health, until it is started again."""
        command = self._yard.client.exec_create(self.name, ["/bin/busybox", "rm", "-f", "/www/health"])
        self._yard.client.exec_start(command["Id"])
        until(lambda: not self.healthy(), f"{self.name} to fail")

    def inspected(self) -> JsonObject:
        """What the engine says of it."""
        found: JsonObject = self._yard.client.inspect_container(self.name)
        return found
