"""The base of all frozen types, and JSON as a type."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict

# Recursive aliases of JSON make mypy and pydantic pay for what is checked at the edges anyway.
JsonValue: TypeAlias = Any
JsonObject: TypeAlias = dict[str, JsonValue]


class Frozen(BaseModel):
    """An immutable value; unknown fields are refused, so a typing mistake is never silently dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="strings")


def canonical_json(value: JsonValue) -> str:
    """Serialise `value` so that equal values give equal text (sorted keys, no spaces, no NaN).

    Raises ValueError for NaN and infinities, TypeError for what is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: JsonValue) -> str:
    """Content hash of a JSON value: `sha256:` and 64 hexadecimal digits over its canonical form."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()
