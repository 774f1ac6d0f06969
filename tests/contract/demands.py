"""What a demanding service needs on this machine: a small disk that it writes on, and another service that it asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.real.components import PROBES, free_port, require_component
from tests.real.disk import SmallDisk, small_disk
from tests.waiting import until

_DISK = "128k"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True


class Demands:
    """Both, from their first use to the end of `stack`. The service under test is told where they are.

    It writes a file of its own on the disk and asks the other service, again and again, and is not well until both
    succeed. What failed it says on its output, and leaves an empty file `ill` there. When it finds `grow` there, it
    takes that away and wants ever more memory.
    """

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._port = free_port()
        self._server: _Server | None = None
        self.data = folder / "data"
        self._disk: SmallDisk | None = None

    @property
    def other(self) -> str:
        """The other service's address."""
        return f"http://127.0.0.1:{self._port}/"

    def meet(self) -> None:
        """Let both be there, and nothing be wrong with them."""
        if not self.data.exists():
            if PROBES["tmpfs"]() is None:
                self._disk = self._stack.enter_context(small_disk(self.data, _DISK))
            else:
                self.data.mkdir()
            self._stack.callback(self._stop)
        for left in ("grow", "ill"):
            (self.data / left).unlink(missing_ok=True)
        if self._server is None:
            self._start()

    def grow(self) -> None:
        """Let the service want more memory than it may have."""
        (self.data / "grow").touch()

    @contextmanager
    def full(self, answers: Callable[[], bool]) -> Iterator[None]:
        """While inside, not one more byte fits on the disk, and the service has noticed. Skips without such a disk."""
        require_component("tmpfs")
        disk = self._disk
        assert disk is not None, "a demanding service has one"

        def noticed() -> bool:
            disk.fill()  # again: the service may just have taken its own file away
            return self._is_ill(answers)

        try:
            until(noticed, "the service cannot write")
            yield
        finally:
            disk.free()

    @contextmanager
    def lacking(self, answers: Callable[[], bool]) -> Iterator[None]:
        """While inside, nobody listens where the other service was, and the service has noticed."""
        self._stop()
        try:
            until(lambda: self._is_ill(answers), "the service misses the other one")
            yield
        finally:
            self._start()

    def _is_ill(self, answers: Callable[[], bool]) -> bool:
        # On a busy machine a service that is well does not always answer in time.
        return not answers() and (self.data / "ill").exists()

    def _start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), _Answers)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
