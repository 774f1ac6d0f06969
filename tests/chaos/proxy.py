"""A TCP proxy that stands between a replica and what it needs, and that can cut, hang and delay."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

_CHUNK = 65_536
_SLOW_SECONDS = 0.2


class Network:
    """A thread whose event loop all proxies of a round share."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-network", daemon=True)
        self._thread.start()

    def do(self, what: Coroutine[Any, Any, None]) -> None:
        """Have the loop do it, and wait for its end."""
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def close(self) -> None:
        """End everything that runs in it."""
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def listen(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], port: int) -> None:
        """Take connections to `port` of loopback, until the end."""
        self._servers.append(await asyncio.start_server(serve, "127.0.0.1", port, backlog=256))

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        ending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


class Proxy:
    """From `port` of loopback to `behind`, another one."""

    def __init__(self, network: Network, port: int, behind: int) -> None:
        self.port = port
        self._network = network
        self._behind = behind
        self._open: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._delay = 0.0
        self._flowing: asyncio.Event | None = None
        network.do(self._listen())

    def suffer(self, what: str) -> None:
        """Be cut, hang, or be slow, until it is healed."""
        if what == "cut":
            self.cut()
        elif what == "hangs":
            self.hang()
        else:
            self.delay(_SLOW_SECONDS)

    def cut(self) -> None:
        """End all connections, and take no new ones."""
        self._cut = True
        self._network.do(self._drop())

    def hang(self) -> None:
        """Let nothing through, and say nothing: as a firewall that forgets, or a cable that is pulled."""
        self._network.do(self._let_flow(False))

    def delay(self, seconds: float) -> None:
        """Hold back everything for so long, in both directions."""
        self._delay = seconds

    def heal(self) -> None:
        """Be a good network again."""
        self._cut, self._delay = False, 0.0
        self._network.do(self._let_flow(True))

    async def _listen(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        await self._network.listen(self._serve, self.port)

    async def _let_flow(self, flows: bool) -> None:
        assert self._flowing is not None
        if flows:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _drop(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        try:
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, behind_writer}
        self._open |= both
        try:
            # Only the end of all cancels it, and Python 3.11 writes a connection that was cancelled down as an error.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(self._pump(reader, behind_writer), self._pump(behind_reader, writer))
        finally:
            self._open -= both
            for each in both:
                each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        assert self._flowing is not None
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._flowing.wait()
                sink.write(chunk)
                await sink.drain()
        # One side has ended: so has the connection, for both.
        sink.close()
