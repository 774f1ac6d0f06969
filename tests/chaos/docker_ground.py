"""A Docker engine of the suite's own for a round: containers that count their own starts, and a wire that is recorded.

The engine's events are lost when it is killed, so two others tell what happened: every start of a container adds to a
file outside of it, and every request to restart one passes a socket that writes it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.chaos.history import Call, Stream, calls_of
from tests.chaos.proxy import Network
from tests.real.docker import IMAGE, DockerEngine
from uici.model.base import JsonObject

_RESTART = re.compile(rb"^POST /[^ ]*/containers/([^/ ]+)/restart")
_CHUNK = 65_536
_VERIFY = {"within": 4, "stable_for": 0.5, "confirm_within": 0, "interval": 1}
# It ends when somebody writes into the pipe. A restart helps, unless the service is bad.
_SERVE = """echo x >>/log/starts
[ -e /log/bad ] && exit 1
trap 'exit 0' TERM
cat /log/end &
wait $!
exit 1
"""


class RecordedWire:
    """A unix socket before the engine's, which writes down the restarts that pass it."""

    def __init__(self, network: Network, socket: Path, engine: Path, stream: Stream) -> None:
        self._engine = engine
        self._stream = stream
        self._ids = itertools.count()
        self.under_way: set[int] = set()
        network.do(self._listen(socket))

    async def _listen(self, socket: Path) -> None:
        await asyncio.start_unix_server(self._serve, socket)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_unix_connection(self._engine)
        except OSError:
            writer.transport.abort()
            return
        # The engine may act after its client is gone, so what it answers is waited for all the same.
        open_: list[int] = []
        answers = asyncio.ensure_future(self._answers(behind_reader, writer, open_))
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if (found := _RESTART.match(chunk)) is not None:
                    open_.append(next(self._ids))
                    self.under_way.add(open_[-1])
                    name = found[1].decode()
                    self._stream.add(id=open_[-1], at=time.monotonic(), target=name, name="restart", key=None)
                behind_writer.write(chunk)
                await behind_writer.drain()
        if not open_:
            behind_writer.transport.abort()
        await answers
        behind_writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_: list[int]) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if open_ and chunk.startswith(b"HTTP/1."):
                    self._end(open_.pop(), b" 204 " in chunk[:16] or None)
                with contextlib.suppress(OSError):
                    writer.write(chunk)
                    await writer.drain()
        # The engine is gone: it does nothing more, and nobody knows what it did.
        for id_ in open_:
            self._end(id_, None)
        open_.clear()
        writer.transport.abort()

    def _end(self, id_: int, did: bool | None) -> None:
        self.under_way.discard(id_)
        self._stream.add(id=id_, at=time.monotonic(), did=did)


class DockerServices:
    """One container for each target."""

    platform = "docker"

    def __init__(
        self, engine: DockerEngine, wire: RecordedWire, folder: Path, socket: Path, names: list[str], stream: Path
    ) -> None:
        self.faults = {"engine killed": 3, "engine paused": 2, "engine restarted": 1}
        self._engine = engine
        self._wire = wire
        self._folder = folder
        self._socket = socket
        self._stream = stream
        self._client = engine.client()
        self._names: dict[str, str] = {}
        for name in names:
            self._make(name)

    def close(self) -> None:
        """Let the client go."""
        self._client.close()

    def site(self, targets: list[str]) -> JsonObject:
        connection = {"base_url": f"unix://{self._socket}"}
        return {
            "environments": {
                "default": "docker",
                "environments": {"docker": {"platform": "docker", "connection": connection}},
            },
            "targets": {name: {"bindings": {"docker": {"container": name, "stop_seconds": 1}}} for name in targets},
            "remedies": [{"name": "restart", "steps": ["restart_service"], "verify": _VERIFY}],
        }

    def environment(self) -> dict[str, str]:
        return {}

    def spoil(self, target: str, bad: bool) -> None:
        log = self._folder / target
        (log / "bad").touch() if bad else (log / "bad").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # nobody reads: it does not run
            os.close(os.open(log / "end", os.O_WRONLY | os.O_NONBLOCK))

    def busy(self) -> bool:
        return bool(self._wire.under_way)

    def harm(self, kind: str, seconds: float) -> None:
        if kind == "engine paused":
            self._engine.pause()
            time.sleep(seconds)
            self._engine.resume()
            return
        self._engine.kill() if kind == "engine killed" else self._engine.stop()
        time.sleep(min(seconds, 2.0))
        self._engine.start()

    def calls(self) -> list[Call]:
        return [replace(call, target=self._name(call.target)) for call in calls_of(self._stream)]

    def starts(self) -> dict[str, int]:
        return {
            folder.name: len((folder / "starts").read_text().splitlines()) - 1
            for folder in sorted(self._folder.iterdir())
            if (folder / "starts").exists()
        }

    def _make(self, name: str) -> None:
        log = self._folder / name
        log.mkdir(parents=True)
        os.mkfifo(log / "end")
        made = self._client.create_container(
            f"{IMAGE}:good",
            ["sh", "-c", _SERVE],
            name=name,
            volumes=["/log"],
            host_config=self._client.create_host_config(
                network_mode="none", binds={str(log): {"bind": "/log", "mode": "rw"}}
            ),
        )
        self._client.start(name)
        self._names[made["Id"]] = name

    def _name(self, named: str) -> str:
        """A container's name; requests give its name, its id, or the beginning of it."""
        return next((name for id_, name in self._names.items() if id_.startswith(named)), named)


@contextmanager
def docker_ground(folder: Path, targets: int) -> Iterator[DockerServices]:
    """Containers `t0`, `t1` … on an engine that nobody else uses, and that may be killed."""
    # A short path: a unix socket's may have 107 characters.
    home = Path(tempfile.mkdtemp(prefix="uici-docker-"))
    network = Network()
    stream = Stream(folder / "platform.jsonl")
    try:
        with DockerEngine(home) as engine:
            engine.make_images()
            socket = home / "wire.sock"
            wire = RecordedWire(network, socket, home / "docker.sock", stream)
            names = [f"t{number}" for number in range(targets)]
            services = DockerServices(engine, wire, folder / "services", socket, names, folder / "platform.jsonl")
            try:
                yield services
            finally:
                services.close()
    finally:
        network.close()
        stream.close()
