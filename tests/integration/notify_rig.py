"""Receivers of messages on loopback, and a clock that a test sets, for the tests of telling people."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from uici.model.base import JsonObject
from uici.model.settings import ASKING, MessageKind, NotifySettings
from uici.notify.channels import Channel
from uici.ports import Notifier
from uici.store.database import Store
from uici.store.outbox import enqueue

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


class SetClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = BEGIN

    def now(self) -> datetime:
        return self.time

    def later(self, minutes: float) -> datetime:
        self.time += timedelta(minutes=minutes)
        return self.time


class Receiver:
    """Keeps what it is sent; fails as often as it is told to."""

    def __init__(self, *failures: Exception, name: str = "receiver") -> None:
        self.name = name
        self.failures = list(failures)
        self.asked = 0
        self.got: list[JsonObject] = []

    def send(self, message: JsonObject) -> None:
        self.asked += 1
        if self.failures:
            raise self.failures.pop()
        self.got.append(message)

    def titles(self) -> list[str]:
        return [message["title"] for message in self.got]


def channel(
    notifier: Notifier, *, least: int = 0, limited: bool = True, kinds: tuple[MessageKind, ...] = ()
) -> Channel:
    """A channel of these kinds, or of all that ask something of a person."""
    return Channel(notifier.name, notifier, frozenset(kinds or ASKING), least, limited=limited)


def new_store(folder: Path) -> Store:
    """An empty state, ready to be used."""
    store = Store(f"sqlite:///{folder / 'uici.db'}")
    store.migrate()
    return store


def settings(**more: Any) -> NotifySettings:
    """Settings of notify as platform.yml gives them."""
    return NotifySettings.model_validate(more)


def tell(
    store: Store,
    key: str,
    at: datetime,
    *,
    kind: MessageKind = MessageKind.ESCALATION,
    severity: str = "warning",
    **more: Any,
) -> None:
    """Put one message into the outbox."""
    with store.write() as connection:
        enqueue(connection, key, kind, {"title": key, **more}, at, severity=severity)


@dataclass
class Request:
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Heard:
    """A receiver over HTTP."""

    url: str
    port: int
    status: int = 200
    answer: str = "ok"
    requests: list[Request] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[Heard]:
    """An HTTP server on loopback that answers as `Heard` says, and keeps what it got; with `tls` behind that."""
    heard = Heard("", 0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            heard.requests.append(Request(self.path, dict(self.headers), body))
            if heard.hangs:
                heard.release.wait(60)
            self.send_response(heard.status)
            if 300 <= heard.status < 400:
                self.send_header("Location", f"{heard.url}/login")
            self.send_header("Content-Length", str(len(heard.answer)))
            self.end_headers()
            self.wfile.write(heard.answer.encode())

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        heard.port = server.server_address[1]
        heard.url = f"http://127.0.0.1:{heard.port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield heard
        finally:
            heard.release.set()
            server.shutdown()
            thread.join()
