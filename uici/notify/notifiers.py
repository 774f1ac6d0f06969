"""Ways of telling humans. Each delivers one message once; the caller tries again."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import httpx
import structlog

from uici.model.base import JsonObject, canonical_json
from uici.monitoring.http import system_trust

_log = structlog.get_logger(__name__)


class LogNotifier:
    """Writes messages to the service's own log, where they cannot fail to arrive."""

    name = "log"

    def send(self, message: JsonObject) -> None:
        """Log one message as the event `human_told`."""
        _log.warning("human_told", notifier=self.name, message=message)


class WebhookNotifier:
    """POSTs each message as JSON. The URL often holds a token, so that it appears in no error and no log."""

    name = "webhook"

    def __init__(self, url: str, *, timeout: float) -> None:
        """`url` is resolved already; `timeout` in seconds. Raises ValueError when it is not an http(s) URL."""
        try:
            parts = urlsplit(url)
            host = parts.hostname
            self._url = httpx.URL(url)
        except (ValueError, httpx.InvalidURL):
            host = None
        if host is None or parts.scheme not in ("http", "https"):
            raise ValueError("the notification webhook is no http:// or https:// URL")
        # It writes each URL at INFO.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._timeout = timeout
        self._where = f"{parts.scheme}://{host}"

    def send(self, message: JsonObject) -> None:
        """Deliver one message; only a 2xx accepts it, and a redirection does not.

        Raises OSError when it was not accepted, ValueError when the message is not JSON.
        """
        body = canonical_json(message).encode()
        try:
            answer = httpx.post(
                self._url,
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=self._timeout,
                trust_env=False,
                verify=system_trust(),
                follow_redirects=False,
            )
        except httpx.HTTPError as error:
            # httpx's own text may hold the URL.
            raise ConnectionError(f"{self._where} could not be reached: {type(error).__name__}") from None
        if not answer.is_success:
            raise OSError(f"{self._where} answered {answer.status_code} instead of 2xx")
