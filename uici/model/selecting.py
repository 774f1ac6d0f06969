"""Selections: which one value of a result is meant, such as `items[?metadata.name=web].spec.replicas`.

    items.0   items[0]   items[-1]      by number
    status.phase   labels["app.kubernetes.io/name"]   by name; in brackets any name, quoted as in JSON
    conditions[?type=Ready].status      the one item of a list whose field equals a value
    items.length()                      how many there are; only at the end

A filter's value is JSON (`80`, `true`, `"80"`), else a text without blanks. A selection names one value or is an
error that says why; there is nothing to compute with.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from uici.model.base import JsonValue

MAX_LENGTH = 500
_NAME = re.compile(r'[^.\[\]"]+')
_INDEX = re.compile(r"\[(-?[0-9]{1,6})\]")
_QUOTED = re.compile(r'\[("(?:[^"\\]|\\.)*")\]')
_FILTER = re.compile(r'\[\?((?:[^\[\]"=]|\["(?:[^"\\]|\\.)*"\])+)=("(?:[^"\\]|\\.)*"|\$?[^\s\[\]"=$]+)\]')
_LENGTH = ".length()"
_SHOWN = 8
_NOTHING = object()


class SelectionSyntaxError(ValueError):
    """The text is no selection. The message says where and what is allowed."""


class SelectionError(LookupError):
    """The selection names no value, or more than one. No value of the result is repeated in the message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """`selection_missing`, `selection_ambiguous` or `selection_unfit`."""


@dataclass(frozen=True, slots=True)
class Where:
    """The one item whose field is as wanted."""

    field: Selector
    wanted: JsonValue
    parameter: str = ""
    """A reference instead of a value: `parameters.name` or `target.name`, filled in before anything is selected."""

    def __str__(self) -> str:
        return f"[?{self.field}={'$' + self.parameter if self.parameter else json.dumps(self.wanted)}]"


class Length:
    """How many items, entries or characters."""


Part = str | int | Where | Length


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selection."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        shown = "".join(_shown(part) for part in self.parts)
        return shown.removeprefix(".")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The references that stand in its filters."""
        return tuple(part.parameter for part in self.parts if isinstance(part, Where) and part.parameter)

    def filled(self, lookup: Callable[[str], JsonValue]) -> Selector:
        """With what `lookup` gives for each reference in a filter."""
        return Selector(
            tuple(
                Where(part.field, lookup(part.parameter)) if isinstance(part, Where) and part.parameter else part
                for part in self.parts
            )
        )

    def of(self, value: JsonValue) -> JsonValue:
        """What is selected from `value`; null is a value. Raises SelectionError."""
        for number, part in enumerate(self.parts):
            value = _step(value, part, Selector(self.parts[:number]), self)
        return value

    def of_or(self, value: JsonValue, default: JsonValue) -> JsonValue:
        """What is selected from `value`; `default` where that is nothing, or not one thing.

        Most selections name fields of mappings, and many find none: nobody has to be told why.
        """
        found = value
        for part in self.parts:
            if type(part) is not str or not isinstance(found, dict):
                break
            found = found.get(part, _NOTHING)
            if found is _NOTHING:
                return default
        else:
            return found
        try:
            return self.of(value)
        except SelectionError:
            return default


@lru_cache(maxsize=4096)
def selector(text: str) -> Selector:
    """The selection that `text` is. Raises SelectionSyntaxError."""
    if len(text) > MAX_LENGTH:
        raise SelectionSyntaxError(f"a selection has at most {MAX_LENGTH} characters")
    parts: list[Part] = []
    at = 0
    while at < len(text):
        if text[at:] == _LENGTH and parts:
            parts.append(Length())
            break
        part, at = _part(text, at, first=not parts)
        parts.append(part)
    if not parts:
        raise SelectionSyntaxError("a selection is not empty")
    return Selector(tuple(parts))


def _part(text: str, at: int, *, first: bool) -> tuple[Part, int]:
    if text[at] == "[":
        found = _INDEX.match(text, at)
        if found is not None:
            return int(found[1]), found.end()
        found = _QUOTED.match(text, at)
        if found is not None:
            return _unquoted(found[1], text), found.end()
        found = _FILTER.match(text, at)
        if found is not None:
            field = selector(found[1])
            if any(not isinstance(part, str) for part in field.parts):
                raise SelectionSyntaxError(f"{text!r}: a filter compares a field named by names alone")
            if found[2].startswith("$"):
                return Where(field, None, _parameter(found[2][1:], text)), found.end()
            return Where(field, _literal(found[2], text)), found.end()
        raise SelectionSyntaxError(
            f'{text!r}: {text[at : at + 30]!r} is no index [0], name ["a.b"] or filter [?name=value]'
        )
    if not first:
        if text[at] != ".":
            raise SelectionSyntaxError(f"{text!r}: a dot or a bracket is wanted before {text[at : at + 30]!r}")
        at += 1
    found = _NAME.match(text, at)
    if found is None or found[0].endswith("()"):
        raise SelectionSyntaxError(f"{text!r}: a name is wanted at {text[at : at + 30]!r}; length() stands at the end")
    return found[0], found.end()


def _parameter(text: str, whole: str) -> str:
    if re.fullmatch(r"(parameters|target)(\.[A-Za-z0-9_-]+)+", text) is None:
        raise SelectionSyntaxError(f"{whole!r}: a filter may compare with $parameters.NAME or $target.NAME")
    return text


def _unquoted(text: str, whole: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise SelectionSyntaxError(f"{whole!r}: {text[:30]} is no quoted text: {error}") from None


def _literal(text: str, whole: str) -> JsonValue:
    if text.startswith('"'):
        return _unquoted(text, whole)
    if re.fullmatch(r"true|false|null|-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?", text):
        value: JsonValue = json.loads(text)
        return value
    return text


def _shown(part: Part) -> str:
    if isinstance(part, Length):
        return _LENGTH
    if isinstance(part, str):
        return f".{part}" if _NAME.fullmatch(part) else f"[{json.dumps(part)}]"
    return f"[{part}]" if isinstance(part, int) else str(part)


def _step(value: JsonValue, part: Part, way: Selector, whole: Selector) -> JsonValue:
    if isinstance(part, str):
        return _named(value, part, way, whole)
    if isinstance(part, Length):
        if isinstance(value, list | dict | str):
            return len(value)
        raise SelectionError("selection_unfit", f"{whole}: {_at(way)} is {_kind(value)}, which has no length")
    if not isinstance(value, list):
        raise SelectionError("selection_missing", f"{whole}: {_at(way)} is {_kind(value)}, not a list")
    if isinstance(part, int):
        return _numbered(value, part, way, whole)
    found = [item for item in value if _has(item, part)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SelectionError(
            "selection_ambiguous", f"{whole}: {part} fits {len(found)} of the {len(value)} items of {_at(way)}"
        )
    raise SelectionError("selection_missing", f"{whole}: {part} fits none of the {len(value)} items of {_at(way)}")


def _named(value: JsonValue, name: str, way: Selector, whole: Selector) -> JsonValue:
    if isinstance(value, dict):
        if name in value:
            return value[name]
        known = ", ".join(sorted(ascii(key)[1:-1] for key in value)[:_SHOWN])
        raise SelectionError(
            "selection_missing", f"{whole}: {_at(way)} has no {name!r:.60}; it has {known or 'nothing'}"
        )
    if isinstance(value, list) and re.fullmatch("[0-9]{1,6}", name):
        return _numbered(value, int(name), way, whole)
    raise SelectionError("selection_missing", f"{whole}: {_at(way)} is {_kind(value)}, which has no {name!r:.60}")


def _numbered(items: list[JsonValue], number: int, way: Selector, whole: Selector) -> JsonValue:
    if -len(items) <= number < len(items):
        return items[number]
    raise SelectionError("selection_missing", f"{whole}: {_at(way)} has {len(items)} items, so none at [{number}]")


def _has(item: JsonValue, where: Where) -> bool:
    try:
        return same(where.field.of(item), where.wanted)
    except SelectionError:
        return False


def same(left: JsonValue, right: JsonValue) -> bool:
    """Equal as people write it: in Python True == 1; in YAML they are different answers."""
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _at(way: Selector) -> str:
    return str(way) if way.parts else "the result"


def _kind(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number" if math.isfinite(value) else "no number"
    if isinstance(value, str):
        return "a text"
    return "a mapping" if isinstance(value, dict) else "a list"
