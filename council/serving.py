"""The composition root: from agents.yml to a running council."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import uvicorn
from pydantic_core import to_json

from council.api.answering import HEADERS
from council.building import key_file
from council.configuration import FILE, load
from council.errors import RefusalError
from council.reloading import Council, Source
from council.settings import AgentsFile
from uici.connections.bounding import BoundedProtocol, bounded

__all__ = ["http_protocol", "key_file", "make_app", "serve"]


def make_app(settings: AgentsFile, folder: Path | None) -> Council:
    """The application, with `settings` until the folder's agents.yml changes.

    Raises Problem for a secret that cannot be had, OSError for a state that cannot be written.
    """
    return Council(settings, folder, None if folder is None else Source(folder / FILE, lambda: load(folder)))


def http_protocol(settings: AgentsFile) -> type[BoundedProtocol]:
    """How connections are served, within the bounds of `service.connections`."""
    return bounded(settings.service.connections, _refusal)


def serve(settings: AgentsFile, folder: Path | None, *, listen: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT; what is under way may end first."""
    host, _, port = (listen or settings.service.listen).rpartition(":")
    uvicorn.run(
        make_app(settings, folder),
        host=host.strip("[]"),
        port=int(port),
        http=http_protocol(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.service.shutdown_seconds),
    )


def _refusal(status: int, code: str, detail: str) -> tuple[bytes, Mapping[str, str]]:
    retry = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    document = RefusalError(status, code, detail).document()
    return to_json(document), {"content-type": "application/json", **HEADERS, **retry}
