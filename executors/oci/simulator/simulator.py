"""One simulator: the cloud, its API and its admin channel, on this machine's loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.routing import Route

from executors.oci.simulator import admin, network, services, workloads
from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.connections import CuttableConnection
from executors.oci.simulator.credentials import Credentials
from executors.oci.simulator.endpoints import Endpoints
from executors.oci.simulator.gateway import Gateway
from executors.oci.simulator.orders import Order
from executors.oci.simulator.state import Effect, Resource, State
from uici.model.base import JsonObject

_log = logging.getLogger(__name__)
_START_SECONDS = 30.0
_LONGEST_NAP_SECONDS = 5.0
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
T = TypeVar("T")


class Simulator:
    """A simulated Oracle Cloud with one tenancy. Its state outlives it in `folder`, however it ends.

    `speed` divides all durations: at 20 a container instance is there after two seconds instead of forty.
    Everything that it shows is a simulation, and says so: each answer has the header `opc-simulator: uici`.
    """

    def __init__(self, folder: Path, *, port: int = 0, admin_port: int = 0, speed: float = 20.0) -> None:
        self._folder = folder
        self._ports = (port, admin_port)
        state = State(folder)
        self.cloud = Cloud(state, speed)
        if state.fact("tenancy") is None:
            with state.transaction():
                self._found()
        self.credentials = Credentials(self.cloud, folder)
        self.gateway: Gateway
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._servers: list[uvicorn.Server] = []
        self._woken: asyncio.Event
        self._endpoints = Endpoints(self.cloud)
        self.url = ""
        """Of the API: what a client is given as `service_endpoint`."""
        self.admin_url = ""

    def _found(self) -> None:
        """Lay the foundations of a new tenancy."""
        state = self.cloud.state
        state.set_fact("tenancy", self.cloud.new_id("tenancy"))
        state.set_fact("user", self.cloud.new_id("user"))
        network.new_subnet(self.cloud)
        services.found(self.cloud)

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; returns when requests are answered."""
        self.gateway = Gateway(self.cloud, self.credentials.find, self._settle)
        sockets = [_listener(port) for port in self._ports]
        self.url, self.admin_url = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in sockets)
        self.cloud.url = self.url
        api = Starlette(routes=[Route("/{path:path}", self.gateway.answer, methods=_METHODS)])
        self._servers = [_server(api), _server(admin.application(self))]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sockets, ready), name="oci-simulator", daemon=True)
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise TimeoutError("the simulator did not start")
        (self._folder / "endpoint.json").write_text(json.dumps(self.describe()))

    def describe(self) -> JsonObject:
        """Where it is and how to reach it."""
        return {
            "simulation": True,
            "endpoint": self.url,
            "admin": self.admin_url,
            "config_file": str(self.credentials.config_file.resolve()),
            "tenancy": self.cloud.tenancy,
            "compartment": self.compartment,
            "subnet": self.subnet,
            "availability_domain": services.AVAILABILITY_DOMAIN,
        }

    def stop(self) -> None:
        """Stop listening; the state stays."""
        if self._thread is not None:
            for server in self._servers:
                server.should_exit = True
            self._wake()
            self._thread.join(_START_SECONDS)
            self._thread = None
        self.cloud.state.close()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._woken.set)

    def _run(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(sockets, ready))
        finally:
            self._loop.close()

    async def _serve(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        self._woken = asyncio.Event()
        self.cloud.changed = self._wake
        await self._settle()
        serving = [asyncio.create_task(server.serve([one])) for server, one in zip(self._servers, sockets, strict=True)]
        while not all(server.started or task.done() for server, task in zip(self._servers, serving, strict=True)):
            await asyncio.sleep(0.01)
        ready.set()
        try:
            await self._keep_time()
        finally:
            await self._endpoints.close()
            await asyncio.gather(*serving)

    async def _keep_time(self) -> None:
        """Let what is due happen when it is due, and the programs listen that run."""
        while not any(server.should_exit for server in self._servers):
            self._woken.clear()
            await self._settle()
            due = self.cloud.state.next_due()
            nap = _LONGEST_NAP_SECONDS if due is None else max(0.0, due - self.cloud.clock())
            try:
                await asyncio.wait_for(self._woken.wait(), min(nap, _LONGEST_NAP_SECONDS))
            except TimeoutError:
                continue

    async def _settle(self) -> None:
        """Let happen what is due, and what runs listen, before anybody is told of it."""
        self.cloud.catch_up()
        await self._endpoints.reconcile()

    def _on_loop(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(_START_SECONDS)

    @property
    def compartment(self) -> str:
        """The compartment of a new cloud."""
        return str(self.cloud.state.fact("compartment"))

    @property
    def subnet(self) -> str:
        """The subnet of a new cloud."""
        return str(self.cloud.state.fact("subnet"))

    def settle(self) -> None:
        """Return when everything that is due has happened, and listens."""
        self._on_loop(self._settle)

    def advance(self, seconds: float) -> None:
        """Put the cloud's clock ahead by so many seconds, and let happen what becomes due."""
        self.cloud.advance(seconds)
        self.settle()

    def skip(self) -> bool:
        """Put the cloud's clock ahead to the next thing that is due, and let it happen. False when nothing is."""
        due = self.cloud.state.next_due()
        if due is not None:
            self.advance(max(0.0, due - self.cloud.clock()))
        return due is not None

    def order(self, order: Order) -> None:
        """Let something go wrong."""
        self.cloud.orders.add(order)

    def ail(self, resource: str, kind: str, *, cure: str = "restart", **details: object) -> None:
        """Let a container's or machine's program suffer from an ailment; for an instance, its first container's."""
        with self.cloud.state.transaction():
            found = self._program(resource)
            if "on" in details:
                details["on"] = self._program(str(details["on"])).id
            workloads.ail(self.cloud, found, kind, cure=cure, **details)
            self.cloud.state.put(found)
            self.cloud.record(None, found.id, f"ordered to suffer: {kind}")
        self.settle()

    def heal(self, resource: str, *kinds: str) -> None:
        """Take ailments away again."""
        with self.cloud.state.transaction():
            found = self._program(resource)
            workloads.heal(found, *kinds)
            self.cloud.state.put(found)
        self.settle()

    def _program(self, resource: str) -> Resource:
        found = self.cloud.state.any(resource)
        if found is not None and found.kind == "container_instance":
            found = self.cloud.state.any(found.wire["containers"][0]["containerId"])
        if found is None or found.kind not in workloads.KINDS:
            raise KeyError(f"{resource} is no container, container instance or compute instance of this simulator")
        return found

    def measure(self, resource: str, **metrics: float) -> None:
        """Let the metrics of a program have these values from now on, such as `CpuUtilization`."""
        with self.cloud.state.transaction():
            found = self._program(resource)
            found.hidden["measured"] = {**found.hidden.get("measured", {}), **metrics}
            self.cloud.state.put(found)

    def add_cluster(self, name: str, server: str, certificate_authority: str = "") -> str:
        """A cluster of Container Engine whose API server is somewhere else; returns its OCID."""
        return services.clusters.add(self.cloud, name, server, certificate_authority)

    def effects(self, after: int = 0) -> list[Effect]:
        """What has taken effect, oldest first."""
        return self.cloud.state.effects(after)

    def requested(self, after: int = 0) -> list[Effect]:
        """What requests have changed: empty after anything that only looks."""
        return [effect for effect in self.effects(after) if effect.request]

    def session_token(self, public_key: rsa.RSAPublicKey, seconds: float = 3600.0) -> str:
        """A session token for whoever holds the private key."""
        return self.credentials.token(public_key, seconds)


def _listener(port: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only where the protocol is named, and without it the second part of an answer waits.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _server(application: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        application,
        http=CuttableConnection,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
