"""What the writer of an alert tells people about it: its annotations and links, as data that is safe to pass on.

They come from outside: whoever can write an annotation must not be able to redraw a terminal, to hide a page below
100 kB of text, or to plant a link that is none. What a channel itself would interpret is that channel's to escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from uici.model.alert import Alert
from uici.model.base import Frozen

_LONGEST_TEXT = 1000
_LONGEST_LINK = 2000
_MOST_LINKS = 8
# Control characters, and those that reorder what is read or are not seen at all.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_IN_NO_LINK = re.compile(r"""[\s<>"'`\\^{}|\x00-\x20\x7f-\x9f]""")
_TEXTS = ("summary", "description", "message")
_LINKS = {
    "runbook_url": "runbook",
    "runbook": "runbook",
    "dashboard_url": "dashboard",
    "dashboard": "dashboard",
}


class Link(Frozen):
    """Where to read more."""

    name: str
    url: str


class Background(Frozen):
    """The words and links of the alerts of an incident, each once."""

    texts: dict[str, str]
    links: tuple[Link, ...]

    @classmethod
    def of(cls, alerts: Iterable[Alert]) -> Background:
        """What these alerts say; of two with a text of one name the first is taken."""
        texts: dict[str, str] = {}
        links: dict[str, Link] = {}
        for alert in alerts:
            for name in _TEXTS:
                if alert.annotations.get(name):
                    texts.setdefault(name, plain(alert.annotations[name]))
            found = [(shown, alert.annotations.get(name, "")) for name, shown in _LINKS.items()]
            for name, text in (*found, ("query", alert.generator_url)):
                url = link(text)
                if url is not None:
                    links.setdefault(url, Link(name=name, url=url))
                elif text and name == "runbook":
                    texts.setdefault(name, plain(text))
        return cls(texts=texts, links=tuple(links.values())[:_MOST_LINKS])


def plain(text: str, longest: int = _LONGEST_TEXT) -> str:
    """`text` on one line, at most `longest` characters, without what is not seen or moves what is."""
    cut = text[: 4 * longest]
    shown = " ".join(_UNSEEN.sub(" ", cut).split())
    return shown if len(shown) <= longest and len(cut) == len(text) else f"{shown[: longest - 1]}…"


def link(text: str) -> str | None:
    """`text` when it is an http(s) URL that can be passed on, else None. One with a password in it cannot."""
    if len(text) > _LONGEST_LINK or _IN_NO_LINK.search(text) or _UNSEEN.search(text):
        return None
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return None
    sound = parts.scheme in ("http", "https") and host and parts.username is None and parts.password is None
    return text if sound else None
