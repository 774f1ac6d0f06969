"""Messages as people read them: a title that says what and where, and a body as plain text or Markdown. Pure.

Alerts, logs and annotations are foreign words. Whoever can write one must not be able to call everybody in a channel,
to draw a link, or to lay out the message anew: `inert` takes that from them, whatever the receiver makes of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from uici.model.base import JsonObject

_LONGEST_TITLE = 200
_LONGEST_LINE = 600
_MOST_FINDINGS = 12
_MOST_LINES = 100

# Control characters, what reverses the direction of writing, and what cannot be seen.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]+"
)
_SCHEME = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}):(?=//)")
_BARE = re.compile(r"(?i)\b(www|mailto|tel)([.:])(?=\S)")
_CALL = re.compile(r"(?<![A-Za-z0-9])@(?=[A-Za-z0-9_&{(])")
# Within a word an underscore is one, and our identifiers are full of them.
_MARKS = re.compile(r"([\\*~\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_LINK = re.compile(r"^https?://[^\s<>\"'`|\\()\[\]{}*]+$")

_QUOTES = {ord("<"): "\u2039", ord(">"): "\u203a"}
"""Look alike, and begin no `<!here>` and no `<https://x|y>`."""

_BREAK = "\u2060"
"""WORD JOINER: cannot be seen, takes no room, and is no part of a name that could be called."""

Form = Literal["text", "markdown"]


def inert(text: str, *, longest: int = _LONGEST_LINE) -> str:
    """Foreign words in one line, calling nobody and linking nowhere.

    `@channel` and `<!here>` stay readable and call nobody; `https://x` becomes `https[:]//x`, the usual way to write an
    address that must not be clicked.
    """
    text = _UNSEEN.sub(" ", text).strip()
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    text = text.translate(_QUOTES)
    text = _SCHEME.sub(r"\1[:]", text)
    text = _BARE.sub(r"\1[\2]", text)
    return _CALL.sub(f"@{_BREAK}", text)


def title_of(message: JsonObject) -> str:
    """The title with the severity before it, in one line."""
    severity = str(message.get("severity") or "")
    title = inert(str(message.get("title") or "UICI has something to tell"), longest=_LONGEST_TITLE)
    # A title is no Markdown, but some services take it for some.
    title = title.replace("](", "] (")
    return f"[{inert(severity, longest=20)}] {title}" if severity else title


def body_of(message: JsonObject, form: Form) -> str:
    """All but the title."""
    # Two spaces make a line break in Markdown: https://spec.commonmark.org/0.31.2/#hard-line-breaks
    return ("  \n" if form == "markdown" else "\n").join(_paragraphs(message, form))


def text_of(message: JsonObject) -> str:
    """The whole message as plain text."""
    return f"{title_of(message)}\n{body_of(message, 'text')}"


def _paragraphs(message: JsonObject, form: Form) -> Iterator[str]:
    yield from _facts(message, form)
    yield from _held(message, form)
    for problem in (message.get("problems") or ())[:_MOST_FINDINGS]:
        yield f"- {_foreign(str(problem), form)}"
    if message.get("patch"):
        yield from _verbatim(str(message["patch"]), form)
    for link in message.get("links") or ():
        yield _link(str(link.get("name") or "Link"), str(link.get("url") or ""), form)
    for guide in message.get("guides") or ():
        if guide.get("url"):
            yield _link(f"Guide {guide.get('title')}", str(guide["url"]), form)
    for step in message.get("what_to_do") or ():
        yield _line("Do", str(step), form)


def _facts(message: JsonObject, form: Form) -> Iterator[str]:
    findings = (message.get("what") or {}).get("findings") or []
    named = [f"{item['name']} ({item['summary']})" for item in findings[:_MOST_FINDINGS]]
    annotations = message.get("annotations") or {}
    tried = "; ".join(_tried(item) for item in message.get("tried") or ())
    facts = {
        "Where": _where(message),
        "Why": str(message.get("why") or ""),
        "Since": str(message.get("since") or ""),
        "Found": "; ".join(named),
        **{name.replace("_", " ").capitalize(): str(value) for name, value in annotations.items()},
        "Tried": tried or ("nothing" if "tried" in message else ""),
        "Plan": "; ".join(_step(step) for step in message.get("plan") or ()),
    }
    yield from (_line(name, value, form) for name, value in facts.items() if value)


def _where(message: JsonObject) -> str:
    where = message.get("where") or {}
    known = [str(where[name]) for name in ("environment", "target") if where.get(name)]
    return str(where.get("place") or "/".join(known))


def _tried(item: JsonObject) -> str:
    undone = ", undone" if item.get("undone") else ""
    detail = f": {item['detail']}" if item.get("detail") else ""
    return f"{item['remedy']} ({item.get('verdict') or 'no verdict'}{undone}{detail})"


def _step(step: JsonObject) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in (step.get("parameters") or {}).items())
    return f"{step.get('operation')} on {step.get('target')}" + (f" ({parameters})" if parameters else "")


def _held(message: JsonObject, form: Form) -> Iterator[str]:
    for item in message.get("held") or ():
        ended = f", {item['outcome']}" if item.get("outcome") else ""
        known = f" ({item['incident']}{ended})" if item.get("incident") else ""
        said = f"{item['at']} {item['title']}{known}"
        yield f"- {_foreign(said, form)}"
        if item.get("url"):
            yield f"  {_link('see', str(item['url']), form)}"
    more = message.get("held_more") or 0
    if more:
        yield _foreign(f"and {more} more", form)


def _verbatim(text: str, form: Form) -> Iterator[str]:
    """Lines whose layout matters."""
    lines = text.splitlines()
    if form == "markdown":
        yield "```"
    for line in lines[:_MOST_LINES]:
        shown = _UNSEEN.sub(" ", line).replace("`", "'")
        yield inert(shown) if _unsafe(shown) else shown
    if form == "markdown":
        yield "```"
    if len(lines) > _MOST_LINES:
        yield f"({len(lines) - _MOST_LINES} more lines)"


def _line(name: str, value: str, form: Form) -> str:
    command = _command(value)
    if command is not None:
        before, code = command
        said = f"{_foreign(before, form)}: " if before else ""
        return f"{_name(name, form)} {said}{_code(code, form)}"
    return f"{_name(name, form)} {_foreign(value, form)}"


def _name(name: str, form: Form) -> str:
    plain = inert(name, longest=40)
    return f"**{_escaped(plain)}:**" if form == "markdown" else f"{plain}:"


def _command(value: str) -> tuple[str, str] | None:
    """What a command is for, and the command, where a line ends in one of ours."""
    before, found, rest = value.rpartition("uici ")
    if not found or (before and not before.endswith(": ")):
        return None
    return before.removesuffix(": "), f"uici {rest}"


def _code(text: str, form: Form) -> str:
    # Copied from here into a terminal: nothing is put in that could not be seen there.
    shown = _UNSEEN.sub(" ", text).replace("`", "'")
    if form == "text":
        return inert(shown, longest=_LONGEST_LINE) if _unsafe(shown) else shown
    return f"`{inert(shown) if _unsafe(shown) else shown}`"


def _unsafe(text: str) -> bool:
    return any(pattern.search(text) for pattern in (_CALL, _SCHEME, _BARE)) or "<" in text or ">" in text


def _foreign(value: str, form: Form) -> str:
    plain = inert(value)
    return _escaped(plain) if form == "markdown" else plain


def _escaped(text: str) -> str:
    """Markdown's marks as themselves (https://spec.commonmark.org/0.31.2/#backslash-escapes)."""
    return _MARKS.sub(r"\\\1", text.replace("`", "'"))


def _link(name: str, url: str, form: Form) -> str:
    """An address as it is: what is seen is where it leads."""
    if _LINK.match(url) is None:
        return _line(name, url, form)
    return f"{_name(name, form)} {url}"
