"""A real Redis on a socket of its own, without a port."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.components import REDIS_BINARIES, binary, require_component
from tests.real.process import stop
from tests.waiting import until


@contextmanager
def redis_server(directory: Path, *options: str, durable: bool = False) -> Iterator[str]:
    """Run Redis until the block ends; its URL. Skips without Redis.

    Where it is `durable` each change is in `directory` before it is answered, and read again at the next start.
    """
    require_component("redis")
    program = binary(REDIS_BINARIES)
    # The path of a socket has at most 107 characters, and pytest's folders are long.
    socket = Path(tempfile.gettempdir(), f"uici-redis-{hashlib.sha256(bytes(directory)).hexdigest()[:12]}.sock")
    assert program is not None
    argv = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory), *options]
    argv += ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
    with (directory / "redis.log").open("ab") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(socket.exists, "Redis", lambda: (directory / "redis.log").read_text())
        yield f"unix://{socket}"
    finally:
        stop(process)
        socket.unlink(missing_ok=True)
