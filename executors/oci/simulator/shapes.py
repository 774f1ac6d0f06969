"""Compare a JSON value with the SDK's own model of it.

Asked for every request's body and, before it is sent, for every answer: an attribute that the model does not know, one
that it requires and that is missing, a value of another type, an enumeration's value that the model would turn into
`UNKNOWN_ENUM_VALUE`. The models are the only source; nothing about a shape is written down here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from executors.oci.simulator.sdk import TypeTable
from uici.model.base import JsonObject

_LIST = re.compile(r"list\[(.+)\]")
_DICT = re.compile(r"dict\(str, (.+)\)")
_UNKNOWN = "UNKNOWN_ENUM_VALUE"


@dataclass(frozen=True)
class Attribute:
    """One attribute of a model."""

    wire: str
    type: str
    required: bool


@functools.cache
def attributes(model: Any) -> Mapping[str, Attribute]:
    """Python name -> attribute. What is required the SDK says in the property's documentation only."""
    blank = model()
    return {
        name: Attribute(
            wire=blank.attribute_map[name],
            type=kind,
            required="**[Required]**" in (getattr(model, name).__doc__ or ""),
        )
        for name, kind in blank.swagger_types.items()
    }


def problems(value: Any, kind: str, types: TypeTable, where: str = "$") -> list[str]:
    """All differences between a value and the SDK's type `kind`, each with its place."""
    return list(_check(value, kind, types, where))


def _check(value: Any, kind: str, types: TypeTable, where: str) -> Iterator[str]:
    if found := _LIST.fullmatch(kind):
        if not isinstance(value, list):
            yield f"{where}: {kind} expected, {_shown(value)} found"
            return
        for index, item in enumerate(value):
            yield from _check(item, found.group(1), types, f"{where}[{index}]")
    elif found := _DICT.fullmatch(kind):
        if not isinstance(value, dict):
            yield f"{where}: {kind} expected, {_shown(value)} found"
            return
        for key, item in value.items():
            yield from _check(item, found.group(1), types, f"{where}.{key}")
    elif kind in _PRIMITIVES:
        if not _PRIMITIVES[kind](value):
            yield f"{where}: {kind} expected, {_shown(value)} found"
    else:
        yield from _model(value, kind, types, where)


def _model(value: Any, kind: str, types: TypeTable, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {kind} expected, {_shown(value)} found"
        return
    model = subtype(value, kind, types)
    known = {attribute.wire: (name, attribute) for name, attribute in attributes(model).items()}
    for wire, (_, attribute) in known.items():
        if attribute.required and value.get(wire) is None:
            yield f"{where}: {model.__name__} requires {wire}"
    for wire, item in value.items():
        if wire not in known:
            yield f"{where}: {model.__name__} has no attribute {wire}"
        elif item is not None:
            name, attribute = known[wire]
            yield from _check(item, attribute.type, types, f"{where}.{wire}")
            yield from _enumeration(model, name, item, f"{where}.{wire}")


def subtype(value: JsonObject, kind: str, types: TypeTable) -> Any:
    """The class that the SDK would make of a value declared as `kind`."""
    model = types[kind]
    chosen = model.get_subtype(value) if hasattr(model, "get_subtype") else kind
    return types[chosen]


def _enumeration(model: Any, name: str, item: Any, where: str) -> Iterator[str]:
    if not isinstance(item, str | list):
        return
    tried = model()
    try:
        setattr(tried, name, item)
    except ValueError as error:
        yield f"{where}: {error}"
        return
    kept = getattr(tried, name)
    if kept == _UNKNOWN or (isinstance(kept, list) and _UNKNOWN in kept):
        yield f"{where}: {model.__name__} does not know the value {item!r}"


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_moment(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value))
    except ValueError:
        return False


_PRIMITIVES: Mapping[str, Any] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": _is_number,
    "bool": lambda value: isinstance(value, bool),
    "object": lambda value: True,
    "datetime": _is_moment,
    "date": _is_date,
}


def projected(value: Any, kind: str, types: TypeTable) -> Any:
    """Keep of a value only what the SDK's type `kind` has: the summary of a whole resource, for instance."""
    if found := _LIST.fullmatch(kind):
        return [projected(item, found.group(1), types) for item in value]
    if kind in _PRIMITIVES or _DICT.fullmatch(kind):
        return value
    model = subtype(value, kind, types)
    return {
        attribute.wire: projected(value[attribute.wire], attribute.type, types)
        for attribute in attributes(model).values()
        if value.get(attribute.wire) is not None
    }
