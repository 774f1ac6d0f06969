"""HTTP as an attacker writes it: bytes into a socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tests.integration.service_rig import DEADLINE


class Reachable(Protocol):
    """A server with an address."""

    url: str


@contextmanager
def connected(served: Reachable, *pieces: bytes) -> Iterator[socket.socket]:
    """A connection on which `pieces` were sent, up to the one that came after the server had closed it."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as raw:
        try:
            for piece in pieces:
                raw.sendall(piece)
        except ConnectionError:  # refused before all was sent: what it answered may still be read
            pass
        yield raw


def rest(raw: socket.socket) -> bytes:
    """All that the server still sends until it closes the connection. Fails where it never does."""
    told = b""
    try:
        while piece := raw.recv(65_536):
            told += piece
    except ConnectionError:  # closed before all that was sent had been read
        pass
    return told


def exchange(served: Reachable, *pieces: bytes) -> bytes:
    """What the server answers to `pieces` before it closes the connection."""
    with connected(served, *pieces) as raw:
        return rest(raw)
