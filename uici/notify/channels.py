"""The ways to people that a site has: the log, the JSON webhook, and Apprise's services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from uici.access.secrets import resolve
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, together
from uici.model.settings import ASKING, MessageKind, NotifySettings
from uici.notify.apprise_notifier import AppriseNotifier
from uici.notify.notifiers import LogNotifier, WebhookNotifier
from uici.ports import Notifier

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Channel:
    """One way to people, and what goes there."""

    name: str
    notifier: Notifier
    kinds: frozenset[MessageKind]
    least: int = 0
    """The lowest rank of severity that is told here."""
    severity: str | None = None
    """The name of that rank, as it was written."""
    limited: bool = True
    """Whether people read it one by one, so that a flood is summarised."""

    def takes(self, kind: MessageKind, rank: int, message: JsonObject) -> bool:
        """Whether a message goes here. How something ended is not told where the same was told as an escalation."""
        if kind not in self.kinds or rank < self.least:
            return False
        return kind is not MessageKind.OUTCOME or message.get("told_as") not in self.kinds


def open_channels(settings: NotifySettings) -> tuple[Channel, ...]:
    """All channels of a site, their secrets resolved; connects nowhere.

    Raises one Problem that names every channel which cannot be used, and never its URL.
    """
    kinds = frozenset((*ASKING, MessageKind.OUTCOME) if settings.outcomes else ASKING)
    channels = [Channel("log", LogNotifier(), kinds, limited=False)]
    problems: list[Problem] = []
    if settings.webhook is not None:
        try:
            webhook = _webhook(settings.webhook, settings.timeout)
        except Problem as problem:
            problems.append(problem)
        else:
            channels.append(Channel("webhook", webhook, kinds, limited=False))
    for name in settings.channels:
        try:
            channels.append(_channel(name, settings))
        except Problem as problem:
            problems.append(problem)
    if problems:
        raise together(problems)
    return tuple(channels)


def check_channels(settings: NotifySettings) -> tuple[str, ...]:
    """Check the channels whose secrets are here; says which were not checked, because theirs are not.

    Raises Problem as `open_channels` does.
    """
    here, missing = {}, []
    for name, channel in settings.channels.items():
        try:
            resolve(channel.url)
        except Problem as problem:
            missing.append(f"the channel {name!r}: {problem.detail}")
        else:
            here[name] = channel
    webhook = settings.webhook
    if webhook is not None:
        try:
            resolve(webhook)
        except Problem as problem:
            missing.append(f"the webhook: {problem.detail}")
            webhook = None
    open_channels(settings.model_copy(update={"channels": here, "webhook": webhook}))
    return tuple(missing)


class _Renewed:
    """A notifier that follows its address: before each message it is looked whether the secret has changed."""

    def __init__(self, reference: str, where: str, make: Callable[[str], Notifier]) -> None:
        self._reference = reference
        self._where = where
        self._make = make
        self._address = resolve(reference, where=where)
        self._notifier = make(self._address.reveal())
        self.name = self._notifier.name

    def send(self, message: JsonObject) -> None:
        """As the protocol says. With a secret that cannot be read now the last address is used."""
        try:
            address = resolve(self._reference, where=self._where)
            if address != self._address:
                self._notifier, self._address = self._make(address.reveal()), address
        except Problem as problem:
            _log.warning("secret_not_read_again", channel=self.name, problem=problem.detail)
        self._notifier.send(message)


def _webhook(reference: str, timeout: float) -> Notifier:
    where = "platform.yml: notify.webhook"
    return _Renewed(reference, where, lambda url: _webhook_at(url, timeout, where))


def _webhook_at(url: str, timeout: float, where: str) -> WebhookNotifier:
    try:
        return WebhookNotifier(url, timeout=timeout)
    except ValueError as error:
        raise Problem(ProblemKind.UNPROCESSABLE, "invalid_webhook", str(error), where=where) from None


def _channel(name: str, settings: NotifySettings) -> Channel:
    channel = settings.channels[name]
    where = f"platform.yml: notify.channels.{name}.url"
    notifier = _Renewed(channel.url, where, lambda url: _apprise_at(url, name, settings, where))
    least = (
        settings.rank(channel.severity)
        if channel.severity is not None
        else min(settings.severities.values(), default=0)
    )
    return Channel(name, notifier, frozenset(channel.kinds), least, channel.severity)


def _apprise_at(url: str, name: str, settings: NotifySettings, where: str) -> AppriseNotifier:
    try:
        return AppriseNotifier(name, url, timeout=settings.timeout, form=settings.channels[name].format)
    except ValueError as error:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "invalid_channel",
            f"the channel {name!r} cannot be used: {error}",
            where=where,
            hint="see https://appriseit.com/services/ for how the URL of each service is written",
        ) from None
