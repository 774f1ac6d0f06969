"""The SDK's models from plain JSON: by the field names and types that each model declares itself."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.errors import did_you_mean

_LIST = re.compile(r"^list\[(.+)\]$")
_DICT = re.compile(r"^dict\(str, (.+)\)$")
_PLAIN: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "datetime": (str,),
    "date": (str,),
}


def build(package: str, model: str, value: JsonValue, *, drop_unknown: bool = False) -> Any:
    """The model `model` of `oci.<package>.models` with what `value` says.

    With `drop_unknown` what the model has no field for is left out, as when an answer becomes a request. Raises
    CallError(PERMANENT, `bad_arguments`) for what does not fit; values are not repeated.
    """
    return _built(importlib.import_module(f"oci.{package}.models"), model, value, model, drop_unknown)


def _built(module: Any, model: str, value: JsonValue, at: str, drop: bool) -> Any:
    kind = getattr(module, model)
    if not isinstance(value, Mapping):
        raise _misfit(at, f"an object is wanted, as the model {model} has it")
    known = _names(kind())
    given: JsonObject = {known.get(str(name), str(name)): item for name, item in value.items()}
    if hasattr(kind, "get_subtype"):
        # A subtype is told by its discriminator, which the SDK reads under its name on the wire.
        wire = {kind().attribute_map.get(name, name): item for name, item in given.items()}
        subtype = str(kind.get_subtype(wire))
        if subtype == model and _is_abstract(kind):
            raise _misfit(at, f"which kind of {model} is meant is not said")
        kind = getattr(module, subtype)
        known = _names(kind())
        given = {known.get(str(name), str(name)): item for name, item in value.items()}
    types = kind().swagger_types
    unknown = [name for name in given if name not in types]
    if unknown and not drop:
        guess = did_you_mean(unknown[0], types)
        raise _misfit(at, f"{kind.__name__} has no field {unknown[0]!r:.60}{guess}; it has {', '.join(sorted(types))}")
    fields = {
        name: _typed(module, types[name], item, f"{at}.{name}", drop)
        for name, item in given.items()
        if name in types and item is not None
    }
    try:
        return kind(**fields)
    except ValueError as error:  # not one of the values that the field may have; the SDK names those, not ours
        raise _misfit(at, str(error)) from None


def _typed(module: Any, kind: str, value: JsonValue, at: str, drop: bool) -> Any:
    if value is None or kind == "object":
        return value
    if found := _LIST.match(kind):
        if not isinstance(value, list | tuple):
            raise _misfit(at, "a list is wanted")
        return [_typed(module, found[1], item, f"{at}[{number}]", drop) for number, item in enumerate(value)]
    if found := _DICT.match(kind):
        if not isinstance(value, Mapping):
            raise _misfit(at, "an object is wanted")
        return {str(key): _typed(module, found[1], item, f"{at}.{key!s:.60}", drop) for key, item in value.items()}
    if kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]) or (kind != "bool" and isinstance(value, bool)):
            raise _misfit(at, f"{kind} is wanted")
        return _time(value, at) if kind in ("datetime", "date") else value
    return _built(module, kind, value, at, drop)


def _time(text: JsonValue, at: str) -> Any:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise _misfit(at, "a time is wanted, such as 2026-01-31T12:00:00Z") from None


def _names(model: Any) -> dict[str, str]:
    """Field's name, as the SDK and as the service have it, to the SDK's."""
    fields = {str(name): str(name) for name in model.swagger_types}
    return {**fields, **{str(wire): str(name) for name, wire in model.attribute_map.items()}}


def _is_abstract(kind: Any) -> bool:
    """Whether the model only stands for its subtypes: it has some, and its discriminator did not say which."""
    return "get_subtype" in vars(kind)


def _misfit(at: str, why: str) -> CallError:
    return CallError(FailureKind.PERMANENT, "bad_arguments", f"{at[:200]}: {why}")
