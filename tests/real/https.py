"""HTTPS servers of the tests' own on loopback: what a cluster asks, and what stands between UICI and a cluster."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.real.remote import Authority
from uici.model.base import JsonObject

Answer = tuple[int, bytes]
"""A status, and JSON."""
_HANDED_ON = ("authorization", "content-type", "accept")


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    """With its query."""
    headers: dict[str, str]
    """Their names in small letters."""
    body: bytes


@dataclass(frozen=True)
class Https:
    """A server that listens."""

    port: int
    ca_file: str

    @property
    def ca_bundle(self) -> str:
        """As objects of Kubernetes have it."""
        return base64.b64encode(Path(self.ca_file).read_bytes()).decode()


@contextmanager
def https(folder: Path, answer: Callable[[Asked], Answer]) -> Iterator[Https]:
    """A server whose every answer is `answer`'s, under a certificate for 127.0.0.1 and localhost."""
    authority = Authority(folder / "https")
    pair = authority.issue("server", host="IP:127.0.0.1,DNS:localhost")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = answer(
                Asked(self.command, self.path, {name.lower(): text for name, text in self.headers.items()}, body)
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Https(server.server_address[1], authority.file)
        finally:
            server.shutdown()


class Relay:
    """Hands each request on to a real API server, remembers it, and may be told to ask for another path instead."""

    def __init__(self, real: JsonObject) -> None:
        """`real` is a `connection` with `server` and `ca_file`."""
        self._real = str(real["server"])
        trusted = ssl.create_default_context(cafile=str(real["ca_file"]))
        self._client = httpx.Client(verify=trusted, trust_env=False, timeout=30.0)
        self.asked: list[Asked] = []
        self.altered: Callable[[str], str] = str

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        kept = {name: text for name, text in asked.headers.items() if name in _HANDED_ON}
        url = self._real + self.altered(asked.path)
        found = self._client.request(asked.method, url, headers=kept, content=asked.body)
        return found.status_code, found.content

    def close(self) -> None:
        """Close its connections."""
        self._client.close()
