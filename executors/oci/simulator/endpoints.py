"""The programs' own HTTP: what runs in the simulated cloud really listens, on an address of this machine's loopback.

A private address of the simulated network is one of 127.0.0.0/8, so a health probe that is sent to it is a real one:
refused when nothing runs, unanswered when the program hangs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from executors.oci.simulator import workloads

if TYPE_CHECKING:
    from executors.oci.simulator.cloud import Cloud

_log = logging.getLogger(__name__)
_HANG_SECONDS = 600.0


@dataclass(frozen=True)
class Place:
    """Where one program listens."""

    resource: str
    address: str
    port: int
    run: int
    """Which of its runs: a new one has a new socket, and the old one's connections are cut."""


class Endpoints:
    """One listener for each running program. Lives on the server's event loop."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._one_at_a_time = asyncio.Lock()
        self._servers: dict[Place, tuple[asyncio.Server, ServerState]] = {}

    async def reconcile(self) -> None:
        """Open what should listen and close what should not."""
        async with self._one_at_a_time:
            wanted = {place for kind in workloads.KINDS for place in self._places(kind)}
            for place in [place for place in self._servers if place not in wanted]:
                self._close(place)
            for place in wanted - self._servers.keys():
                await self._open(place)

    async def close(self) -> None:
        """Close everything."""
        answering = [task for _, state in self._servers.values() for task in state.tasks]
        for place in list(self._servers):
            self._close(place)
        await asyncio.gather(*answering, return_exceptions=True)

    def _places(self, kind: str) -> list[Place]:
        places = []
        for resource in self._cloud.state.find(kind):
            program = resource.hidden.get("program", {})
            if workloads.is_running(resource) and program.get("address"):
                run = int(resource.hidden["run"]["number"])
                places.append(Place(resource.id, program["address"], int(program["port"]), run))
        return places

    async def _open(self, place: Place) -> None:
        config = uvicorn.Config(_Program(self._cloud, place.resource), log_config=None, lifespan="off", ws="none")
        config.load()
        state = ServerState()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((place.address, place.port))
        except OSError as error:
            listener.close()
            _log.error("%s cannot listen on %s:%d: %s", place.resource, place.address, place.port, error)
            return

        def connection() -> asyncio.Protocol:
            return H11Protocol(config=config, server_state=state, app_state={})

        server = await asyncio.get_running_loop().create_server(connection, sock=listener)
        self._servers[place] = server, state

    def _close(self, place: Place) -> None:
        server, state = self._servers.pop(place)
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in state.tasks:
            task.cancel()


class _Program:
    """What one program answers, to every path."""

    def __init__(self, cloud: Cloud, resource: str) -> None:
        self._cloud = cloud
        self._resource = resource

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        found = self._cloud.state.any(self._resource)
        condition = workloads.condition(self._cloud, found) if found else "gone"
        if condition == "hang":
            try:
                await asyncio.sleep(_HANG_SECONDS)
            except asyncio.CancelledError:
                return  # the program has ended, and its connections before it: there is nobody to answer
        body = {"status": "ok" if condition == "well" else condition, "path": request.url.path, "simulator": "uici"}
        if found is not None:
            body["image"] = found.hidden["program"].get("image", "")
        status = 200 if condition == "well" else 503
        headers = {"connection": "close"}
        response = Response(json.dumps(body), status, headers, media_type="application/json")
        await response(scope, receive, send)
