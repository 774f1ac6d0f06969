"""The raw connection that an attached exec turns its request into: input one way, both outputs the other."""

from __future__ import annotations

import socket
from typing import Any

from executors.deadline import Deadline


class Stream:
    """Made of the response that upgraded the connection; its maker closes it. Every method raises OSError."""

    def __init__(self, response: Any) -> None:
        # Neither requests nor urllib3 has a word for an upgraded connection; the SDK reaches for the same object. Its
        # reader is kept, because it may already hold what came together with the headers.
        self._reader = response.raw._fp.fp
        raw = getattr(self._reader, "raw", self._reader)
        self._connection: Any = getattr(raw, "_sock", raw)

    def send(self, content: bytes, deadline: Deadline) -> None:
        """Write all of the input, and end it."""
        self._connection.settimeout(max(0.05, deadline.left()))
        self._connection.sendall(content)
        self._connection.shutdown(socket.SHUT_WR)

    def read(self, deadline: Deadline, limit: int) -> tuple[bytes, bool]:
        """What came until the end, the limit or the deadline; and whether it was the end."""
        content = bytearray()
        while len(content) < limit:
            if deadline.left() == 0:
                return bytes(content), False
            self._connection.settimeout(max(0.05, deadline.left()))
            try:
                part = self._reader.read1(65536)
            except TimeoutError:
                return bytes(content), False
            if not part:
                return bytes(content), True
            content += part
        return bytes(content), False
