"""The ways to people that a site has: the log, the JSON webhook, and Apprise's services."""

from __future__ import annotations

from dataclasses import dataclass

from uici.access.secrets import resolve
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, together
from uici.model.settings import ASKING, MessageKind, NotifySettings
from uici.notify.apprise_notifier import AppriseNotifier
from uici.notify.notifiers import LogNotifier, WebhookNotifier
from uici.ports import Notifier


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


def _webhook(reference: str, timeout: float) -> WebhookNotifier:
    where = "platform.yml: notify.webhook"
    url = resolve(reference, where=where).reveal()
    try:
        return WebhookNotifier(url, timeout=timeout)
    except ValueError as error:
        raise Problem(ProblemKind.UNPROCESSABLE, "invalid_webhook", str(error), where=where) from None


def _channel(name: str, settings: NotifySettings) -> Channel:
    channel = settings.channels[name]
    where = f"platform.yml: notify.channels.{name}.url"
    url = resolve(channel.url, where=where).reveal()
    try:
        notifier = AppriseNotifier(name, url, timeout=settings.timeout, form=channel.format)
    except ValueError as error:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "invalid_channel",
            f"the channel {name!r} cannot be used: {error}",
            where=where,
            hint="see https://appriseit.com/services/ for how the URL of each service is written",
        ) from None
    least = (
        settings.rank(channel.severity)
        if channel.severity is not None
        else min(settings.severities.values(), default=0)
    )
    return Channel(name, notifier, frozenset(channel.kinds), least, channel.severity)
