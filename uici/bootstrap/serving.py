"""Serving over HTTP until told to stop."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from uici.bootstrap.application import Application
from uici.service.app import close_streams, create_app

log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Ends open event streams before it waits for connections to close."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

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
    app = create_app(application.control, application.site.platform.service, application.site.platform.intake)
    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(application.site.platform.service.shutdown_seconds),
        timeout_keep_alive=30,
    )
    server = _Server(settings, app)
    application.start()
    log.info(
        "serving",
        host=host,
        port=port,
        state=str(application.store.path),
        environments=sorted(application.site.environments),
    )
    try:
        server.run()
    finally:
        application.stop()
        log.info("stopped")
    return 0 if server.started else 1


def configure_logging() -> None:
    """Structured lines on standard error, so that standard output stays for answers."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if not sys.stderr.isatty() else structlog.dev.ConsoleRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)
