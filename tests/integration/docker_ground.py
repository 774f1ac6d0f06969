"""What the Docker tests share: executors on the real engine, containers of their own, a count of requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from executors.docker import DockerExecutor
from tests.contract.docker_rig import Mutations, make_call
from tests.contract.rig import ALL_LAYERS, NOBODY
from tests.real.docker import IMAGE, DockerEngine
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, Happened
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

COMPOSE = {"com.docker.compose.service": "web", "com.docker.compose.project": "uici-t"}


class Ground:
    """An executor, a raw client, and containers that are gone after the test."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine
        self.client = engine.client()
        self.executor = self.make()
        self.events = Mutations(self.client)

    def make(
        self,
        *,
        identity: SelfIdentity = NOBODY,
        layers: SelfGuardLayers = ALL_LAYERS,
        url: str | None = None,
        timeout: float = 20.0,
        limits: JsonObject | None = None,
    ) -> DockerExecutor:
        settings: JsonObject = {
            "base_url": url or self.engine.url,
            "timeout_seconds": timeout,
            "limits": limits or {},
        }
        return DockerExecutor(ExecutorContext(environment="test", settings=settings, identity=identity, layers=layers))

    def run(self, name: str, *, tag: str = "good", start: bool = True, **options: Any) -> str:
        """Create (and start) a container `name`; `host` are host options. Returns its id."""
        host = self.client.create_host_config(**{"network_mode": "none", **options.pop("host", {})})
        made = self.client.create_container(f"{IMAGE}:{tag}", name=name, host_config=host, **options)
        if start:
            self.client.start(made["Id"])
        return str(made["Id"])

    def do(self, name: str, target: JsonObject, executor: DockerExecutor | None = None, **arguments: Any) -> JsonObject:
        return (executor or self.executor).perform(make_call(name, target=target, **arguments))

    def call(self, name: str, target: JsonObject, **arguments: Any) -> Call:
        return make_call(name, target=target, **arguments)

    def fails(
        self, name: str, target: JsonObject, executor: DockerExecutor | None = None, **arguments: Any
    ) -> CallError:
        with pytest.raises(CallError) as caught:
            self.do(name, target, executor, **arguments)
        return caught.value

    def before(self, name: str, target: JsonObject, **arguments: Any) -> JsonObject:
        return self.executor.before(make_call(name, target=target, **arguments))

    def happened(self, name: str, before: JsonObject, target: JsonObject, **arguments: Any) -> Happened:
        return self.executor.happened(make_call(name, target=target, **arguments), before)

    def inspect(self, name: str) -> dict[str, Any]:
        return dict(self.client.inspect_container(name))

    def names(self) -> set[str]:
        """Of all containers of these tests; others may use the engine too."""
        names = {one["Names"][0].lstrip("/") for one in self.client.containers(all=True)}
        return {name for name in names if "uici-t-" in name}

    def actions(self) -> list[tuple[str, str]]:
        """(action, name) of every change since the last time."""
        self.events.count()
        actions, self.events.actions = self.events.actions, []
        return actions

    def close(self) -> None:
        self.executor.close()
        for container in self.client.containers(all=True):
            name = container["Names"][0]
            # All of the test image, but for the service of the conformance rig, which lives as long as its tests do.
            if "uici-t-" in name or (container["Image"].startswith(IMAGE) and not name.startswith("/uici-rig")):
                self.client.remove_container(container["Id"], force=True, v=True)
        for network in self.client.networks():
            if network["Name"].startswith("uici-t"):
                self.client.remove_network(network["Id"])
        self.client.close()


def ground_of(engine: DockerEngine) -> Iterator[Ground]:
    """The body of the fixture."""
    ground = Ground(engine)
    try:
        yield ground
    finally:
        ground.close()
