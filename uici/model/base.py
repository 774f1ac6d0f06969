"""The base of all frozen types, and JSON as a type."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict

# Recursive aliases of JSON make mypy and pydantic pay for what is checked at the edges anyway.
JsonValue: TypeAlias = Any
JsonObject: TypeAlias = dict[str, JsonValue]


class Frozen(BaseModel):
    """An immutable value; unknown fields are refused, so a typing mistake is never silently dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="strings")


_field_sets: dict[frozenset[str], set[str]] = {}


def share_field_sets(values: Iterable[BaseModel]) -> None:
    """Let `values` and all models in them share the sets of the names that were written, where these are equal.

    Each model has such a set of its own, though it never changes; with thousands of verbs that is an eighth of the
    memory.
    """
    waiting: list[object] = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, BaseModel):
            names = value.__pydantic_fields_set__
            object.__setattr__(value, "__pydantic_fields_set__", _field_sets.setdefault(frozenset(names), names))
            waiting.extend(inner for inner in value.__dict__.values() if isinstance(inner, BaseModel | tuple | dict))
        elif isinstance(value, tuple):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(inner for inner in value.values() if isinstance(inner, BaseModel))


UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")
"""What no text may hold that is kept: PostgreSQL has no NUL, and nothing has halves of characters."""


def canonical_json(value: JsonValue) -> str:
    """Serialise `value` so that equal values give equal text (sorted keys, no spaces, no NaN).

    Raises ValueError for NaN and infinities, TypeError for what is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: JsonValue) -> str:
    """Content hash of a JSON value: `sha256:` and 64 hexadecimal digits over its canonical form."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()
