"""Short answers about JSON Schemas: yes, or `perhaps`, for which `uici.model.parameters` asks the whole validator.

Nearly all schemas that people write use a dozen keywords, and nearly all values satisfy them. Saying so takes a small
part of the time that the validator takes, which counts with thousands of verbs. Nothing is ever refused here. Sources
of the rules: JSON Schema Core 2020-12, section 10, and Validation 2020-12, sections 6 to 9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from uici.model.base import JsonObject, JsonValue
from uici.model.patterns import pattern

_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})


def is_integer(value: object) -> bool:
    """JSON Schema takes 3.0 for an integer; what is sent to a platform should be what was meant."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Finite, and no boolean."""
    return is_integer(value) or (isinstance(value, float) and math.isfinite(value))


# --- schemas ------------------------------------------------------------------------------------------------------


def plainly_sound(schema: JsonValue) -> bool:
    """Whether `schema` uses only common keywords, each as the meta-schema wants it."""
    return isinstance(schema, dict) and all(
        keyword in _SOUND and _SOUND[keyword](value) for keyword, value in schema.items()
    )


def _is_count(value: JsonValue) -> bool:
    return is_integer(value) and value >= 0


def _is_names(value: JsonValue) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value) and len(set(value)) == len(value)


def _is_pattern(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and pattern(value) is not None
    except ValueError:
        return False


def _is_subschema(value: JsonValue) -> bool:
    return isinstance(value, bool) or plainly_sound(value)


_SOUND: Mapping[str, Callable[[JsonValue], bool]] = {
    **dict.fromkeys(("title", "description"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("default", "const"), lambda value: True),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count),
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _is_subschema),
    "pattern": _is_pattern,
    "type": lambda value: isinstance(value, str) and value in _TYPES,
    "enum": lambda value: isinstance(value, list),
    "required": _is_names,
    "uniqueItems": lambda value: isinstance(value, bool),
    "properties": lambda value: isinstance(value, dict) and all(_is_subschema(item) for item in value.values()),
}


# --- values -------------------------------------------------------------------------------------------------------


def plainly_satisfies(schema: JsonValue, value: JsonValue) -> bool:
    """Whether `value` surely satisfies the sound `schema`; false also when that is not plain to see."""
    if schema is True:
        return True
    return isinstance(schema, dict) and all(
        keyword in _SATISFIED and _SATISFIED[keyword](limit, value, schema) for keyword, limit in schema.items()
    )


_IS: Mapping[str, Callable[[JsonValue], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": is_integer,
    "number": is_number,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def _type(limit: JsonValue, value: JsonValue, schema: JsonObject) -> bool:
    return any(kind in _IS and _IS[kind](value) for kind in ([limit] if isinstance(limit, str) else limit))


def _listed(limit: JsonValue, value: JsonValue, schema: JsonObject) -> bool:
    # What equals what is only plain among texts.
    return isinstance(value, str) and any(value == choice for choice in limit if isinstance(choice, str))


def _properties(limit: JsonValue, value: JsonValue, schema: JsonObject) -> bool:
    return not isinstance(value, dict) or all(
        plainly_satisfies(sub, value[name]) for name, sub in limit.items() if name in value
    )


def _additional(limit: JsonValue, value: JsonValue, schema: JsonObject) -> bool:
    # `patternProperties` is none of the keywords here, so a schema that has it is never plain.
    return not isinstance(value, dict) or all(
        plainly_satisfies(limit, item) for name, item in value.items() if name not in schema.get("properties", ())
    )


def _unique(limit: JsonValue, value: JsonValue, schema: JsonObject) -> bool:
    if not limit or not isinstance(value, list):
        return True
    return all(isinstance(item, str) for item in value) and len(set(value)) == len(value)


_SATISFIED: Mapping[str, Callable[[JsonValue, JsonValue, JsonObject], bool]] = {
    **dict.fromkeys(("title", "description", "default"), lambda limit, value, schema: True),
    "type": _type,
    "enum": _listed,
    "const": lambda limit, value, schema: _listed([limit], value, schema),
    "minimum": lambda limit, value, schema: not is_number(value) or value >= limit,
    "maximum": lambda limit, value, schema: not is_number(value) or value <= limit,
    "exclusiveMinimum": lambda limit, value, schema: not is_number(value) or value > limit,
    "exclusiveMaximum": lambda limit, value, schema: not is_number(value) or value < limit,
    "minLength": lambda limit, value, schema: not isinstance(value, str) or len(value) >= limit,
    "maxLength": lambda limit, value, schema: not isinstance(value, str) or len(value) <= limit,
    "pattern": lambda limit, value, schema: not isinstance(value, str) or pattern(limit).found_in(value),
    "minItems": lambda limit, value, schema: not isinstance(value, list) or len(value) >= limit,
    "maxItems": lambda limit, value, schema: not isinstance(value, list) or len(value) <= limit,
    "uniqueItems": _unique,
    "items": lambda limit, value, schema: (
        not isinstance(value, list) or all(plainly_satisfies(limit, item) for item in value)
    ),
    "minProperties": lambda limit, value, schema: not isinstance(value, dict) or len(value) >= limit,
    "maxProperties": lambda limit, value, schema: not isinstance(value, dict) or len(value) <= limit,
    "required": lambda limit, value, schema: not isinstance(value, dict) or all(name in value for name in limit),
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": lambda limit, value, schema: (
        not isinstance(value, dict) or all(plainly_satisfies(limit, name) for name in value)
    ),
    "allOf": lambda limit, value, schema: all(plainly_satisfies(sub, value) for sub in limit),
    "anyOf": lambda limit, value, schema: any(plainly_satisfies(sub, value) for sub in limit),
}
