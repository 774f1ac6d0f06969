"""Connections of the simulator's server that can be cut without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_open: dict[tuple[Any, Any], asyncio.Transport] = {}


class CuttableConnection(H11Protocol):
    """uvicorn's connection, found again by the addresses of its two ends."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # its stubs say BaseTransport
        """Remember the connection."""
        self._ends = (transport.get_extra_info("sockname")[:2], transport.get_extra_info("peername")[:2])
        _open[self._ends] = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        _open.pop(self._ends, None)
        super().connection_lost(exc)


def cut(scope: MutableMapping[str, Any]) -> None:
    """End the connection of a request at once, as a network failure does."""
    transport = _open.get((tuple(scope["server"]), tuple(scope["client"])))
    if transport is not None:
        transport.abort()
