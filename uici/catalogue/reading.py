"""YAML text into nodes that know their position.

The parser's events are turned into nodes here, not by PyYAML's constructors, for three reasons: only scalars that
mean the same to everybody become numbers or booleans (YAML 1.2's core, without octal and hexadecimal forms, dates,
`on`, `yes` or underscores), duplicate keys are found, and neither nesting nor aliases can exhaust the process.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import yaml

from uici.catalogue.diagnostics import Position, Report
from uici.model.base import JsonValue

MAX_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 48
MAX_SIZE = 400_000
"""Nodes of one file with every alias written out; a long text counts as several."""

Scalar: TypeAlias = str | int | float | bool | None

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,6})?")
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_FIRST_OF_NUMBERS = frozenset("-0123456789")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_NO_KEYS: dict[str, Position] = cast("dict[str, Position]", MappingProxyType({}))
"""Shared by all nodes that are no mappings; it can only be read."""


class Node:
    """A value with the position at which it was written. `keys` are the positions of a mapping's keys."""

    __slots__ = ("height", "keys", "position", "size", "value")

    def __init__(
        self,
        position: Position,
        value: Scalar | list[Node] | dict[str, Node],
        keys: dict[str, Position] = _NO_KEYS,
        size: int = 1,
    ) -> None:
        self.position = position
        self.value = value
        self.keys = keys
        self.size = size
        self.height = 1

    @property
    def mapping(self) -> dict[str, Node]:
        """The entries; empty when this is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The items; empty when this is no list."""
        return self.value if isinstance(self.value, list) else []

    def plain(self) -> JsonValue:
        """The value as JSON, without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, *path: str | int) -> Node:
        """The deepest node that exists on `path`."""
        node = self
        for part in path:
            found = node._child(part)
            if found is None:
                break
            node = found
        return node

    def key_position(self, *path: str | int) -> Position:
        """Where the key that ends `path` is written; the deepest existing position when it is not."""
        parent = self.at(*path[:-1]) if path else self
        return parent.keys.get(str(path[-1]), self.at(*path).position) if path else self.position

    def walk(self) -> Iterator[Node]:
        """Itself and all below it, in the order of writing."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            if isinstance(node.value, dict):
                waiting.extend(reversed(node.value.values()))
            elif isinstance(node.value, list):
                waiting.extend(reversed(node.value))

    def _child(self, part: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None


def empty(file: str) -> Node:
    """The mapping that a missing or empty file stands for."""
    return Node(Position(file), {})


def read_file(path: Path, report: Report) -> Node | None:
    """The document in `path`, which must be a mapping; None when it was not readable, with the reasons in `report`."""
    name = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        report.add(Position(name), "unreadable_file", f"cannot be read: {error.strerror or error}")
        return None
    return read_bytes(data, name, report)


def is_readable(folder: Path, report: Report) -> bool:
    """Whether what lies in `folder` can be found; the reason why not is in `report`."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                entry.stat()
                break
    except OSError as error:
        report.add(Position(str(folder)), "unreadable_folder", f"cannot be read: {error.strerror or error}")
        return False
    return True


def read_bytes(data: bytes, name: str, report: Report) -> Node | None:
    """As `read_file`, for bytes at hand; `name` is what diagnostics call them."""
    if len(data) > MAX_BYTES:
        report.add(Position(name), "file_too_large", f"is larger than the {MAX_BYTES} bytes allowed for one file")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        position = Position(name, before.count(b"\n") + 1, column)
        report.add(position, "not_utf8", f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")
        return None
    found = len(report)
    try:
        node = _Builder(name, report).build(text)
    except yaml.YAMLError as error:
        _report_syntax(error, name, text, report)
        return None
    except _UnusableError:
        return None
    if node is None or node.value is None:
        return None if len(report) > found else empty(name)
    if not isinstance(node.value, dict):
        report.add(node.position, "wrong_type", f"the file must hold a mapping, not {kind_of(node.value)}")
        return None
    return node


def kind_of(value: object) -> str:
    """The kind of a YAML or JSON value, as people call it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a mapping" if isinstance(value, dict) else "a list"


def scalar_of(text: str) -> Scalar:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST_OF_NUMBERS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and not text.lstrip("-").isdecimal():
        number = float(text)
        if math.isfinite(number):
            return number
    return text


class _UnusableError(Exception):
    """The text cannot be followed further; the reason is in the report."""


class _Builder:
    """Builds nodes from the parser's events with an explicit stack, so that depth costs no recursion."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._report = report
        self._anchors: dict[str, Node | None] = {}
        self._open: list[tuple[Node, str | None]] = []
        self._pending: list[tuple[str, Position] | None] = []
        self._root: Node | None = None
        self._documents = 0

    def build(self, text: str) -> Node | None:
        parser = _LOADER(text)
        get_event = parser.get_event
        try:
            while (event := get_event()) is not None:
                handler = _HANDLERS.get(event.__class__)
                if handler is not None:
                    handler(self, event)
        finally:
            parser.dispose()
        return self._root

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._fail(event, "several_documents", "one file holds one document; remove what follows `---`")

    def _scalar(self, event: Any) -> None:
        if event.tag is not None:
            self._refuse_tag(event)
        mark = event.start_mark
        position = Position(self._name, mark.line + 1, mark.column + 1)
        if self._open and self._pending[-1] is None and self._open[-1][0].value.__class__ is dict:
            self._key(event, position)
            return
        value = event.value if event.style else scalar_of(event.value)
        node = Node(position, value, size=1 + len(event.value) // 64)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._attach(node, event)

    def _begin(self, event: Any) -> None:
        if event.tag is not None:
            self._refuse_tag(event)
        if self._expects_key():
            self._fail(event, "wrong_key", "a key must be a text, not a list or a mapping")
        if len(self._open) >= MAX_DEPTH:
            self._fail(event, "too_deep", f"is nested deeper than {MAX_DEPTH} levels")
        if event.anchor:
            self._anchors[event.anchor] = None
        position = self._position(event)
        node = Node(position, {}, {}) if event.__class__ is yaml.MappingStartEvent else Node(position, [])
        self._open.append((node, event.anchor))
        self._pending.append(None)

    def _refuse_tag(self, event: Any) -> None:
        self._fail(event, "tag_refused", f"tags such as {event.tag!r} are not allowed; write plain values")

    def _alias(self, event: Any) -> None:
        if self._expects_key():
            self._fail(event, "wrong_key", "a key must be a text, not an alias")
        if event.anchor not in self._anchors:
            self._fail(event, "unknown_anchor", f"no anchor &{event.anchor} stands before this alias")
        node = self._anchors[event.anchor]
        if node is None:
            self._fail(event, "recursive_alias", f"*{event.anchor} stands inside what it names")
            return
        if len(self._open) + node.height > MAX_DEPTH:
            self._fail(event, "too_deep", f"is nested deeper than {MAX_DEPTH} levels")
        self._attach(node, event)

    def _key(self, event: Any, position: Position) -> None:
        mapping = self._open[-1][0]
        # Thousands of files have the same few keys.
        key: str = sys.intern(event.value)
        if event.anchor:
            self._fail(event, "wrong_key", "a key takes no anchor")
        if key == "<<" and not event.style:
            self._fail(event, "merge_refused", "merge keys are not allowed; write the entries out")
        first = mapping.keys.get(key)
        if first is not None:
            self._report.add(
                position,
                "duplicate_key",
                f"{key!r} is written twice in one mapping; first at line {first.line}, column {first.column}",
            )
        else:
            mapping.keys[key] = position
        self._pending[-1] = (key, position)

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1][0].value, dict) and self._pending[-1] is None

    def _attach(self, node: Node, event: Any) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1][0]
        value = parent.value
        if isinstance(value, list):
            value.append(node)
        elif isinstance(value, dict):
            pending = self._pending[-1]
            self._pending[-1] = None
            if pending is not None:
                value.setdefault(pending[0], node)
        parent.size += node.size
        if node.height >= parent.height:
            parent.height = node.height + 1
        if parent.size > MAX_SIZE:
            self._fail(event, "too_large", f"is larger than {MAX_SIZE} values once its aliases are written out")

    def _close(self, event: Any) -> None:
        node, anchor = self._open.pop()
        self._pending.pop()
        if anchor:
            self._anchors[anchor] = node
        self._attach(node, event)

    def _position(self, event: Any) -> Position:
        return Position(self._name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _fail(self, event: Any, code: str, text: str) -> None:
        self._report.add(self._position(event), code, text)
        raise _UnusableError


# One look at the event's class instead of a chain of isinstance: a large site has millions of events.
_HANDLERS: Mapping[type, Callable[[_Builder, Any], None]] = {
    yaml.ScalarEvent: _Builder._scalar,
    yaml.MappingStartEvent: _Builder._begin,
    yaml.SequenceStartEvent: _Builder._begin,
    yaml.MappingEndEvent: _Builder._close,
    yaml.SequenceEndEvent: _Builder._close,
    yaml.AliasEvent: _Builder._alias,
    yaml.DocumentStartEvent: _Builder._document,
}


def _report_syntax(error: yaml.YAMLError, name: str, text: str, report: Report) -> None:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        position = Position(name, mark.line + 1, mark.column + 1) if mark is not None else Position(name)
        said = " ".join(part for part in (error.context, error.problem) if part) or "is not YAML"
        report.add(position, "bad_yaml", f"is not valid YAML: {said}")
        return
    at = getattr(error, "position", None)
    position = Position(name)
    if isinstance(at, int) and 0 <= at <= len(text):
        position = Position(name, text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1)
    reason = getattr(error, "reason", "") or "has characters that YAML does not allow"
    report.add(position, "bad_yaml", f"is not valid YAML: {reason}")
