"""Masking for display: what is shown never holds a secret's value, while everything else stays as it is sent.

The one place that decides what a secret looks like. Whoever resolves a secret registers its value here; registered
values are only ever compared with, and leave this module in no way.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

from uici.model.base import JsonObject, JsonValue
from uici.model.secret import is_reference

MASK = "******"

SHORTEST_REGISTERED = 8
"""Characters. Shorter values occur by chance: hiding them everywhere would make everything unreadable."""
MOST_REGISTERED = 1000
"""The one that was registered longest ago goes first. It bounds what each text costs that is shown."""
_SHORTEST_GIVEN = 4

_SECRET_KEY = re.compile(
    r"passw(or)?d|passphrase|secret|token|api[_-]?key|credential|authorization|private[_-]?key|access[_-]?key|cookie",
    re.IGNORECASE,
)
_ASSIGNMENT = re.compile(r"^([A-Za-z_][A-Za-z0-9_.-]*)=(.*)$", re.DOTALL)
_OPTION = re.compile(r"^--?[A-Za-z][A-Za-z0-9_.-]*$")

# Texts may be log lines of megabytes. Each pattern below starts with fixed text and repeats without bound only what the
# next match starts after, so that it costs no more than the text's length.
_URL_PASSWORD = re.compile(r"(?P<name>://[^\s/@:]*:)(?P<value>[^\s/]+)(?P<end>@)")
_AUTHORIZATION = re.compile(r"\b(?P<name>(?:Bearer|Basic)\s+)(?P<value>[A-Za-z0-9._~+/=-]{6,})", re.IGNORECASE)
_NAMED = re.compile(
    r"""(?P<name>
        (?:pass(?:word|wd|phrase)?|secret|token|(?:api|access|private)[_-]?key|credentials?)
        # Before a colon `token_count` is rather a measure; before `=` it is a variable's name.
        (?:[_.-][A-Za-z0-9_.-]{0,64}+(?=\s{0,8}+=)|[0-9]{0,4})
        \\?["']?\s{0,8}[=:]\s{0,8}[\[({]{0,4}
    )
    # A text may be cut off inside its quotes; then all that is left of it is the value.
    (?P<value> "(?:[^"\\]|\\.)*"? | '[^']*'? | \\"[^"]*"? | [^\s,;&"']+ )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

_TELLING = re.compile(r"[=:\s]")
"""Without any of these a text can match none of the patterns above: most texts are names."""

_QUOTES = re.compile(r"""\\?["']""")

_LONGEST_REMEMBERED = 200
_MOST_REMEMBERED = 8192
_MANY = 300
"""Ways of writing secrets from which on a text is not searched for each of them."""


class _Known:
    """Secrets, the longest first, and short texts that were found to hold none of them nor anything like one.

    What is shown repeats itself: names, states, sentences of the guards. `plain` are those of the texts that are no
    secret's key either.
    """

    __slots__ = ("by_beginning", "clean", "plain", "secrets")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # One secret may hold another, of which a rest would be left otherwise.
        self.secrets = tuple(sorted(set(secrets), key=lambda secret: (-len(secret), secret)))
        self.by_beginning: dict[str, list[str]] = {}
        if len(self.secrets) > _MANY:
            for secret in self.secrets:
                self.by_beginning.setdefault(secret[:SHORTEST_REGISTERED], []).append(secret)
        self.clean: set[str] = set()
        self.plain: set[str] = set()

    def hide(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._candidates(text) if self.by_beginning else self.secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def _candidates(self, text: str) -> list[str]:
        """Of many secrets those of which the text has the beginning, so that it costs what its length is."""
        size = SHORTEST_REGISTERED
        places = {text[place : place + size] for place in range(len(text) - size + 1)}
        found = [secret for begin in places & self.by_beginning.keys() for secret in self.by_beginning[begin]]
        return sorted(found, key=lambda secret: (-len(secret), secret))


_registering = threading.Lock()
_registered = _Known()
_values: OrderedDict[str, frozenset[str]] = OrderedDict()
"""Each secret with the ways in which it may be written, those first that were registered longest ago."""


def register_secret(value: str) -> None:
    """From now on `mask` hides this value wherever it stands in this process. Thread-safe.

    A value of several lines is hidden line by line too, as logs print it. What is shorter than `SHORTEST_REGISTERED`
    is not remembered.
    """
    _register((value,), last=True)


def register_named(document: JsonValue) -> None:
    """Register the texts that stand under a secret's name in `document`: a password of a binding, a plan's parameter.

    They may come back without the name: in a log of the program that got them. Of too many these go first.
    """
    _register(_named_texts(document), last=False)


def _named_texts(document: JsonValue) -> Iterator[str]:
    if isinstance(document, dict):
        for key, item in document.items():
            if isinstance(item, str):
                if is_secret_key(str(key)) and not _tells_nothing(item):
                    yield item
            else:
                yield from _named_texts(item)
    elif isinstance(document, list | tuple):
        for item in document:
            yield from _named_texts(item)


def _register(values: Iterable[str], *, last: bool) -> None:
    global _registered
    with _registering:
        before = len(_values), next(iter(_values), None)
        for value in values:
            if value not in _values:
                parts = {value, *(line.strip() for line in value.splitlines())}
                _values[value] = frozenset(
                    form for part in parts if len(part) >= SHORTEST_REGISTERED for form in _forms(part)
                )
                _values.move_to_end(value, last=last)
            elif last:
                _values.move_to_end(value)
        if before == (len(_values), next(iter(_values), None)):
            return
        while len(_values) > MOST_REGISTERED:
            _values.popitem(last=False)
        # Replaced as a whole, so that readers need no lock.
        _registered = _Known(form for forms in _values.values() for form in forms)


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether values under this key are not shown, by the key's name alone."""
    return _SECRET_KEY.search(key) is not None


def mask(value: JsonValue, secrets: Collection[str] = ()) -> JsonValue:
    """A copy of `value` in which whatever is a secret, or looks like one, is `******`.

    Hidden are: what stands under a secret's key; in texts, the value of `NAME=value` and `name: value` with a secret's
    name, the password in an URL, and what follows `Bearer` or `Basic`; the argument after an option with a secret's
    name; every registered secret, and `secrets` (those shorter than four characters are ignored). Booleans, null and
    references to secrets (`${env:NAME}`) tell nothing and stay.
    """
    known = _registered
    if secrets:
        given = {form for secret in secrets if len(secret) >= _SHORTEST_GIVEN for form in _forms(secret)}
        value = _masked(value, _Known(given))
    return _masked(value, known)


def _masked(value: JsonValue, known: _Known) -> JsonValue:
    if isinstance(value, str):
        return value if value in known.clean else _text(value, known)
    if isinstance(value, dict):
        return _members(value, known)
    if isinstance(value, list | tuple):
        return _items(value, known)
    return value


def _members(members: JsonObject, known: _Known) -> JsonObject:
    clean, plain = known.clean, known.plain
    shown: JsonObject = {}
    for key, item in members.items():
        if key in plain:
            kept = item is None or item is True or item is False or (type(item) is str and item in clean)
            shown[key] = item if kept else _masked(item, known)
            continue
        name = str(key)
        secret = is_secret_key(name)
        written = _text(name, known)
        shown[written] = _hide(item, known) if secret else _masked(item, known)
        if not secret and type(key) is str and key in clean and len(plain) < _MOST_REMEMBERED:
            plain.add(key)
    return shown


def _items(items: Iterable[JsonValue], known: _Known) -> list[JsonValue]:
    """A list; it may be a command, in which an option's value is the item after it."""
    shown: list[JsonValue] = []
    named = False
    for item in items:
        option = isinstance(item, str) and _OPTION.match(item) is not None
        shown.append(_hide(item, known) if named and isinstance(item, str) and not option else _masked(item, known))
        named = option and is_secret_key(item)
    return shown


def _text(text: str, known: _Known) -> str:
    if text in known.clean:
        return text
    shown = _shown(known.hide(text))
    if shown == text and len(text) <= _LONGEST_REMEMBERED:
        if len(known.clean) >= _MOST_REMEMBERED:
            known.clean.clear()
        known.clean.add(text)
    return shown


def _shown(text: str) -> str:
    if _TELLING.search(text) is None:
        return text
    found = _ASSIGNMENT.match(text)
    if found is not None and is_secret_key(found[1]):
        return text if _tells_nothing(found[2]) else f"{found[1]}={MASK}"
    text = _URL_PASSWORD.sub(_replaced, text)
    text = _AUTHORIZATION.sub(_replaced, text)
    return _NAMED.sub(_replaced, text)


def _replaced(found: re.Match[str]) -> str:
    inner = found["value"].strip("\"'\\")
    if _tells_nothing(inner) or inner == MASK:
        return found[0]
    # With its quotes, so that JSON inside a text can still be read.
    quotes = _QUOTES.match(found["value"])
    mark = quotes[0] if quotes is not None else ""
    return f"{found['name']}{mark}{MASK}{mark}{found.groupdict().get('end') or ''}"


def _hide(value: JsonValue, known: _Known) -> JsonValue:
    if isinstance(value, dict):
        return {_text(str(key), known): _hide(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item, known) for item in value]
    if isinstance(value, bool) or value is None or (isinstance(value, str) and _tells_nothing(value)):
        return value
    return MASK


def _tells_nothing(text: str) -> bool:
    return text == "" or is_reference(text)


def _forms(secret: str) -> set[str]:
    """The secret as it is, and as it may come back: in an URL, in JSON, in Python's and a shell's quotes, as base64 at
    any place of a longer text, and in hexadecimal digits.
    """
    content = secret.encode("utf-8", "surrogatepass")
    written = {
        secret,
        quote(content, safe=""),
        quote(content),
        quote_plus(content),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        shlex.quote(secret),
        html.escape(secret),
        content.hex(),
        content.hex().upper(),
    }
    return written | (_base64_forms(content) if len(content) >= SHORTEST_REGISTERED else set())


def _base64_forms(content: bytes) -> set[str]:
    """What of the secret's base64 is the same whatever stands before and after it, for the three ways in which it can
    begin in a longer text; in both alphabets.
    """
    forms = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + content).rstrip(b"=").decode()
        first = (0, 2, 3)[before]
        last = len(encoded) - (1 if (before + len(content)) % 3 else 0)
        whole = encoded[first:last]
        forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return forms


def hide_known_in(words: Mapping[str, str]) -> Mapping[str, str]:
    """As `hide_known` for names and texts; the same object where none of them holds a secret, for which one look is
    enough.
    """
    known = _registered
    if not known.secrets:
        return words
    # What stands between them occurs in no text that is kept.
    together = "\0".join([*words, *words.values()])
    if known.hide(together) == together:
        return words
    return {known.hide(name): known.hide(text) for name, text in words.items()}


def hide_known(text: str) -> str:
    """A text without the secrets that are registered; what only looks like one stays. For what is stored as it came."""
    return _registered.hide(text)
