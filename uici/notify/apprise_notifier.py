"""Telling people through Apprise (https://appriseit.com): Slack, e-mail, PagerDuty, Teams and some hundred more.

An Apprise URL is a secret as a whole: tokens stand where other URLs have hosts and paths. So no part of one appears in
any text that leaves this module.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from uici.model.base import JsonObject
from uici.model.masking import mask
from uici.model.settings import MessageKind
from uici.notify.wording import body_of, title_of

if TYPE_CHECKING:
    from apprise import NotifyBase

_LONGEST_REASON = 300
_SHORTEST_PART = 4
_PARTS = re.compile(r"[^A-Za-z0-9._~%+-]+")


class AppriseNotifier:
    """Delivers to one Apprise URL."""

    def __init__(self, name: str, url: str, *, timeout: float, form: Literal["text", "markdown"]) -> None:
        """`url` is resolved already; `timeout` in seconds without an answer. Raises ValueError, without the URL."""
        # Here, because it takes longer to import than all else that `uici check` does.
        import apprise

        self.name = name
        self._form = form
        self._parts = _parts_of(url)
        _silence()
        asset = apprise.AppriseAsset(
            app_id="UICI",
            app_desc="UICI heals services",
            app_url="",
            # In this thread, which the deliverer bounds; Apprise's own workers would keep the process from ending.
            async_mode=False,
            service_timeout=0,
            # Only a 2xx of the receiver itself accepts: behind a redirection stands a page to log in.
            http_redirects=False,
            allow_templates=False,
        )
        with _Heard() as heard:
            service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            raise ValueError(self._clean(heard.said[0]) if heard.said else "Apprise does not know such a URL")
        self._service: NotifyBase = service
        # `?optional=yes` would call every failure a success.
        service.optional = False
        service.socket_connect_timeout = timeout
        service.socket_read_timeout = timeout
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)
        self._format = apprise.NotifyFormat.MARKDOWN if form == "markdown" else apprise.NotifyFormat.TEXT
        self._types = {
            MessageKind.ESCALATION: apprise.NotifyType.FAILURE,
            MessageKind.REFUSED: apprise.NotifyType.WARNING,
            MessageKind.PROPOSAL: apprise.NotifyType.WARNING,
            MessageKind.APPROVAL: apprise.NotifyType.WARNING,
            MessageKind.CONFIGURATION_REJECTED: apprise.NotifyType.WARNING,
        }
        self._other = apprise.NotifyType.INFO

    @property
    def service(self) -> str:
        """The service's name, such as `Slack`."""
        return str(self._service.service_name)

    def send(self, message: JsonObject) -> None:
        """Deliver one message; returns when the receiver has accepted it. Raises OSError with what is known of why."""
        with self._apprise.notify(
            body=body_of(message, self._form),
            title=title_of(message),
            notify_type=self._types.get(message.get("kind", ""), self._other),
            body_format=self._format,
        ) as result:
            if result:
                return
            said = [entry.message for entry in result.logs()]
        raise OSError(self._clean(said[-1]) if said else "the receiver did not accept it")

    def _clean(self, text: str) -> str:
        masked = str(mask(" ".join(text.split()), self._parts))
        return masked if len(masked) <= _LONGEST_REASON else masked[: _LONGEST_REASON - 1] + "…"


class _Heard(logging.Handler):
    """What Apprise complains of inside the `with` block; it is logged and not raised."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one complaint."""
        self.said.append(record.getMessage())

    def __enter__(self) -> _Heard:
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)


def _parts_of(url: str) -> tuple[str, ...]:
    """The URL and each word of it but its scheme: any of them may be a token."""
    _, _, rest = url.partition("://")
    words = {word for word in _PARTS.split(rest) if len(word) >= _SHORTEST_PART}
    return (url, *words, *(unquote(word) for word in words))


def _silence() -> None:
    """Apprise and what it calls write URLs: at DEBUG, and some of it in warnings. What matters is in the result."""
    ours = logging.getLogger("apprise")
    ours.propagate = False
    ours.setLevel(logging.WARNING)
    if not ours.handlers:
        ours.addHandler(logging.NullHandler())
    for name in ("urllib3", "requests", "requests_oauthlib", "oauthlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
