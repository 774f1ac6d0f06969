"""Serving over HTTP until told to stop."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from structlog.typing import EventDict

from uici.bootstrap.application import Application
from uici.model.credentials import TlsSettings
from uici.model.errors import Problem, ProblemKind
from uici.model.masking import mask
from uici.model.settings import ServiceSettings
from uici.model.terminals import one_line, printable
from uici.service.app import close_streams, create_app
from uici.service.connections import bounded

_JSON_LINES = structlog.processors.JSONRenderer()
log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.1
_OBJECTS_BEFORE_A_LOOK = 10_000


class _Server(uvicorn.Server):
    """Drains before it ends, and ends open event streams before it waits for connections to close."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, application: Application) -> None:
        super().__init__(config)
        self._app = app
        self._application = application
        self._draining: threading.Thread | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain first; told so again, end at once."""
        if self._draining is None:
            # Not here: a signal comes in the midst of anything, and the state may be slow to answer.
            self._draining = threading.Thread(target=self._drain, args=(sig, frame), name="uici-drain", daemon=True)
            self._draining.start()
        else:
            super().handle_exit(sig, frame)

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        seconds = self._application.site.platform.service.drain_seconds
        log.info("draining", seconds=seconds)
        end_at = time.monotonic() + seconds
        self._application.drain()
        while not self.should_exit and time.monotonic() < end_at:
            time.sleep(_LOOK_SECONDS)
        if not self.should_exit:
            super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As the base class, but the signal is not raised again afterwards: there is still a run to hand over.

        SIGHUP has the configuration loaded again, as it has in other services.
        """
        former = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        former[signal.SIGHUP] = signal.signal(
            signal.SIGHUP, lambda number, frame: self._application.configuration.ask()
        )
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, end the streams, wait for what is under way."""
        close_streams(self._app)
        await super().shutdown(sockets)


def serve(config: Path | None, listen: str | None, state: str | None) -> int:
    """Run UICI until SIGTERM or SIGINT; returns 0 after a clean end.

    Raises CatalogueError and Problem before anything is accepted.
    """
    configure_logging()
    application = Application(config, state)
    host, port = _address(listen or application.site.platform.service.listen)
    platform = application.site.platform
    app = create_app(application.control, platform.service, platform.intake, platform.access)
    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(platform.service.shutdown_seconds),
        timeout_keep_alive=30,
        **protocol(platform.service),
    )
    server = _Server(settings, app, application)
    listening = _listen(host, port)
    application.start()
    _look_for_cycles_seldom()
    log.info(
        "serving",
        host=host,
        port=port,
        state=application.store.place,
        environments=sorted(application.site.environments),
    )
    try:
        server.run(sockets=[listening])
    finally:
        application.stop()
        log.info("stopped")
    return 0 if server.started else 1


def _look_for_cycles_seldom() -> None:
    """An alert is some hundred objects, nearly none of them in cycles. To go through all that the start has made, each
    time that so many have come, costs a fifth of a storm's processor time and holds up every answer meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_A_LOOK)


def protocol(service: ServiceSettings) -> dict[str, Any]:
    """What the server is told about connections and TLS.

    Raises Problem for files that are missing or do not fit each other.
    """
    common = {"http": bounded(service.connections), "server_header": False}
    return common | (_tls(service.tls) if service.tls is not None else {})


def _tls(settings: TlsSettings) -> dict[str, Any]:
    asked = ssl.CERT_REQUIRED if settings.client_certificates == "required" else ssl.CERT_OPTIONAL
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
    except OSError as error:  # ssl.SSLError is one
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "unusable_certificate",
            f"the certificate, its key or the clients' authority cannot be used: {error.strerror or error}",
            where="platform.yml: service.tls",
            hint="give PEM files that UICI may read, and a key that belongs to the certificate",
        ) from None
    return {
        "ssl_certfile": settings.certificate,
        "ssl_keyfile": settings.key,
        "ssl_ca_certs": settings.client_ca,
        "ssl_cert_reqs": asked if settings.client_ca is not None else ssl.CERT_NONE,
    }


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise Problem(
            ProblemKind.CONFLICT,
            "cannot_listen",
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            where="--listen or platform.yml: service.listen",
            hint="end what listens there, or give another HOST:PORT",
        ) from None
    # Accepted connections inherit it. asyncio sets it only where the protocol is named, and without it the second part
    # of an answer waits 40 ms for the client's delayed acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _MaskingFormatter(logging.Formatter):
    """Lines of the libraries, tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(str(mask(super().format(record))))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class calls it so
        record.message = one_line(record.message)
        return super().formatMessage(record)


def _mask_event(logger: object, method: str, event: EventDict) -> EventDict:
    """After exceptions have become text, before anything is written."""
    masked: EventDict = mask(event)
    return masked


def _plain_event(logger: object, method: str, event: EventDict) -> EventDict:
    """For a terminal: what is written for people has no quotes around foreign texts, so that they must be inert."""
    return {
        name: (printable(value) if name == "exception" else one_line(value)) if isinstance(value, str) else value
        for name, value in event.items()
    }


def configure_logging() -> None:
    """Structured lines on standard error, so that standard output stays for answers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskingFormatter("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask_event,
            *((_plain_event, structlog.dev.ConsoleRenderer()) if sys.stderr.isatty() else (_JSON_LINES,)),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)
