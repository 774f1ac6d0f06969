"""What one connection, and all together, may cost before anybody has said who they are.

The server parses requests and runs the application. It sets no bound to how long a request's head may be, how slowly
the head or the body may come, how slowly an answer is read, nor to how many connections there are: that is done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from uici.model.settings import ConnectionLimits

PEER_CERTIFICATE = "uici_peer_certificate"
"""In the state of each request of a connection whose client has shown a certificate."""
_TOLD_SECONDS = 60.0
"""At most so often is it said that connections were dropped: whoever opens thousands shall not fill the log, too."""

Refusal = Callable[[int, str, str], tuple[bytes, Mapping[str, str]]]
"""From a status, a code and what is wrong to the body and the headers of the answer."""

_log = structlog.get_logger(__name__)


class BoundedProtocol(HttpToolsProtocol):
    """One connection, within the limits of its class; `bounded` makes the class of a server."""

    limits: ConnectionLimits
    refusal: Refusal
    _dropped = 0
    _told_at = float("-inf")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._in_body = False
        """Whether the rest of a body may come, also after its answer: who is refused early has not been listened to."""
        self._since = 0.0
        """Since when nobody works for it."""
        self._due: float | None = None
        """By when the part of a request has to be here that is waited for."""
        self._unread_due: float | None = None
        """By when the client has to have read on."""
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the base class has it
        """Take the connection; where there are too many, in the place of one that asks nothing."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        if certificate:  # TLS has verified it; nothing that a client writes gets to where it is kept
            self.app_state = {**self.app_state, PEER_CERTIFICATE: certificate}
        self._since = self.loop.time()
        if len(self.connections) > self.limits.most and not self._make_room():
            self._refuse(503, "too_many_connections", "all connections are taken; try again")
            return
        self._due = self._since + self.limits.head_seconds
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self.transport.is_closing():
            return  # refused already
        of_a_body = self._in_body
        super().data_received(data)
        if of_a_body or not self._awaits_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.limits.head_bytes:
            self._refuse_head()
        elif self._due is None:
            # What stands between two requests is no request either, and it has ended the wait for the next one.
            self._due = self.loop.time() + self.limits.head_seconds

    def on_headers_complete(self) -> None:
        """The head is here; from now on the body has to come."""
        if self.transport.is_closing():
            return  # what a refused client had sent already
        if len(self.url) + sum([len(name) + len(value) for name, value in self.headers]) > self.limits.head_bytes:
            self._refuse_head()
            return
        self._head_bytes = 0
        self._in_body = True
        self._due = self.loop.time() + self.limits.body_seconds
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here; how long its answer takes is not the client's doing."""
        self._in_body = False
        self._due = None
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is sent."""
        self._since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no request gets one answer."""
        if not self.transport.is_closing():
            self._refuse(400, "not_http", "this is no HTTP request")

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._unread_due = self.loop.time() + self.limits.write_seconds

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._unread_due = None

    @property
    def idle(self) -> bool:
        """Whether nobody works on a request of this connection."""
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    @property
    def _awaits_head(self) -> bool:
        # A timer runs where the wait for a next request has not been ended by anything.
        if self._in_body or self.transport.is_closing():
            return False
        return self.idle and self.timeout_keep_alive_task is None

    def _look_again(self) -> None:
        # One timer that looks now and then costs a request nothing; one for each wait would cost several.
        self._look = self.loop.call_later(self.limits.look_seconds, self._judge)

    def _judge(self) -> None:
        now = self.loop.time()
        if self._unread_due is not None and now >= self._unread_due:
            self.transport.abort()  # a close would wait until all is read
        elif self._due is not None and now >= self._due:
            self._too_slow()
        else:
            self._look_again()

    def _too_slow(self) -> None:
        detail = "the request did not come in time; send it at once, or raise service.connections"
        self._refuse(408, "request_too_slow", detail)

    def _refuse_head(self) -> None:
        detail = f"the address and the headers have more than {self.limits.head_bytes} bytes together"
        self._refuse(431, "head_too_large", detail)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer without the application, and close."""
        if not self.idle and self.cycle.response_started:
            self.transport.abort()  # one answer cannot stand within another
            return
        body, headers = type(self).refusal(status, code, detail)
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"content-length: {len(body)}",
            "connection: close",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def _make_room(self) -> bool:
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and one is not self and one.idle]
        if not others:
            return False
        oldest = min(others, key=lambda one: one._since)
        oldest.transport.abort()
        self.connections.discard(oldest)
        own = type(self)
        own._dropped += 1
        if self.loop.time() - own._told_at >= _TOLD_SECONDS:
            _log.warning("connections_dropped", open=len(self.connections), dropped=own._dropped)
            own._told_at = self.loop.time()
        return True


def bounded(limits: ConnectionLimits, refusal: Refusal) -> type[BoundedProtocol]:
    """The protocol of one server, for `uvicorn.Config(http=…)`; `refusal` says it in the words of that server."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits, "refusal": staticmethod(refusal)})
