"""Values against JSON Schema (2020-12), with errors that people can act on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError

from uici.model.base import JsonObject, JsonValue
from uici.model.call import SELECTION_KEY
from uici.model.masking import is_secret_key
from uici.model.patterns import pattern
from uici.model.plain_schemas import is_integer, is_number, plainly_satisfies, plainly_sound

_SHOWN = 80
_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_LIMITS: Mapping[str, str] = {
    "minimum": "must be at least {limit}",
    "maximum": "must be at most {limit}",
    "exclusiveMinimum": "must be more than {limit}",
    "exclusiveMaximum": "must be less than {limit}",
    "minLength": "must have at least {limit} characters",
    "maxLength": "must have at most {limit} characters",
    "pattern": "must match the pattern {limit}",
    "minItems": "must have at least {limit} items",
    "maxItems": "must have at most {limit} items",
    "minProperties": "must have at least {limit} entries",
    "maxProperties": "must have at most {limit} entries",
    "const": "must be {limit!r}",
    "multipleOf": "must be a multiple of {limit}",
}


def _matches(validator: Any, text: str, value: object, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not pattern(text).found_in(value):
        yield ValidationError(f"{value!r} does not match {text!r}")


_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    validators={"pattern": _matches},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": lambda checker, value: is_integer(value), "number": lambda checker, value: is_number(value)}
    ),
)


_NAMED_SCHEMAS = ("properties", "patternProperties", "dependentSchemas")
_SCHEMAS = (
    "additionalProperties", "allOf", "anyOf", "contains", "else", "if", "items", "not", "oneOf", "prefixItems",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
# Those without a check of their own: JSON Schema Validation 2020-12, sections 6.4 and 9; Core 2020-12, 8.3 and 10.2.
_ANNOTATIONS = (
    "$comment", "title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "maxContains",
    "minContains", "then", "else",
)  # fmt: skip
_KEYWORDS = (*Draft202012Validator.VALIDATORS, *_ANNOTATIONS)


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """One thing wrong with a value: where, what was given, what is allowed."""

    code: str
    path: tuple[str | int, ...]
    text: str
    choices: tuple[str, ...] = ()
    suggestion: str = ""

    @property
    def dotted(self) -> str:
        """The path as people write it."""
        return ".".join(map(str, self.path))

    def __str__(self) -> str:
        shown = f"{self.dotted}: {self.text}" if self.path else self.text
        if self.choices:
            shown += f"; valid choices {', '.join(self.choices)}"
        return shown + (f"; did you mean {self.suggestion!r}?" if self.suggestion else "")


def check_value(schema: JsonObject, value: JsonValue, *, hidden: bool = False) -> tuple[ValueProblem, ...]:
    """Everything in which `value` does not satisfy `schema`.

    Types are strict, as JSON Schema has them: a boolean is no number, a text never becomes one. What an earlier
    call will give (`{"$select": ...}`) is not judged. With `hidden` no problem repeats a value.
    """
    if plainly_satisfies(schema, value):
        return ()
    found: list[ValueProblem] = []
    for error in _Validator(schema).iter_errors(value):
        if not _holds_selection(error.instance) or error.validator in ("additionalProperties", "required"):
            found.extend(_problems(error, hidden=hidden))
    return tuple(found)


def with_defaults(schema: JsonObject, value: JsonObject) -> JsonObject:
    """`value` with the defaults of the schema's properties that it does not give."""
    defaults = {
        name: sub["default"]
        for name, sub in schema.get("properties", {}).items()
        if isinstance(sub, dict) and "default" in sub and name not in value
    }
    return {**value, **defaults}


def kinds_at(schema: JsonObject, path: tuple[str | int, ...]) -> tuple[str, ...]:
    """In words, of which kinds a value at `path` may be; `anything` where the schema does not say."""
    found = [schema]
    for part in path:
        found = [inner for each in found for inner in _below(schema, each, part)]
    kinds = [kind for each in found for kind in _types(schema, each)]
    return tuple(dict.fromkeys(_KINDS.get(kind, kind) for kind in kinds)) or ("anything",)


def _alternatives(root: JsonObject, schema: JsonValue) -> Iterator[JsonObject]:
    """`schema` with references followed, and each alternative by itself."""
    if not isinstance(schema, dict):
        return
    name = schema.get("$ref")
    if isinstance(name, str):
        yield from _alternatives(root, root.get("$defs", {}).get(name.removeprefix("#/$defs/")))
        return
    yield schema
    for key in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(key, ()):
            yield from _alternatives(root, each)


def _below(root: JsonObject, schema: JsonValue, part: str | int) -> Iterator[JsonValue]:
    for each in _alternatives(root, schema):
        if isinstance(part, int):
            first = each.get("prefixItems", ())
            yield first[part] if part < len(first) else each.get("items")
        else:
            yield each.get("properties", {}).get(part, each.get("additionalProperties"))


def _types(root: JsonObject, schema: JsonValue) -> Iterator[str]:
    for each in _alternatives(root, schema):
        kinds = each.get("type", [])
        yield from kinds if isinstance(kinds, list) else [kinds]


def schema_problem(schema: JsonValue) -> str | None:
    """Why `schema` is not a usable JSON Schema; None when it is.

    References are refused, since they could reach outside the file; so are patterns that do not compile.
    """
    if not plainly_sound(schema):
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            where = ".".join(map(str, error.absolute_path))
            return f"{where}: {error.message}" if where else str(error.message)
        unknown = next(_unknown_keywords(schema), None)
        if unknown is not None:
            near = _near(unknown, _KEYWORDS)
            return f"{unknown!r} is no keyword of JSON Schema" + (f"; did you mean {near!r}?" if near else "")
    for node in _mappings(schema):
        for key in ("$ref", "$dynamicRef"):
            if key in node:
                return f"{key} is not allowed; write the schema out"
        given = node.get("pattern")
        if isinstance(given, str):
            try:
                pattern(given)
            except ValueError as error:
                return f"pattern {error}"
    return None


def _unknown_keywords(schema: JsonValue) -> Iterator[str]:
    """What JSON Schema would pass over in silence: a mistyped keyword, or the rest of a text with a comma in it."""
    if not isinstance(schema, dict):
        return
    yield from (key for key in schema if key not in _KEYWORDS and not key.startswith("x-"))
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS and isinstance(value, dict):
            parts = list(value.values())
        elif key in _SCHEMAS:
            parts = value if isinstance(value, list) else [value]
        else:
            continue
        for part in parts:
            yield from _unknown_keywords(part)


def _problems(error: ValidationError, *, hidden: bool) -> Iterator[ValueProblem]:
    path = tuple(error.absolute_path)
    hidden = hidden or any(is_secret_key(str(part)) for part in path)
    schema: Any = error.schema
    rule, limit = str(error.validator), _as_any(error.validator_value)
    if rule == "additionalProperties" and isinstance(error.instance, dict):
        allowed = tuple(schema.get("properties", {}))
        for name in error.instance:
            if name not in allowed:
                text = f"is not known here (given {_shown(name)})"
                yield ValueProblem("unknown_parameter", (*path, name), text, allowed, _near(str(name), allowed))
    elif rule == "required" and isinstance(error.instance, dict):
        missing = error.message.split("'")[1] if "'" in error.message else ""
        yield ValueProblem("missing_parameter", (*path, missing), "is required, but was not given")
    elif rule == "type":
        kinds: list[str] = limit if isinstance(limit, list) else [limit]
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
        given = "what was given" if hidden else _kind(error.instance)
        yield ValueProblem("wrong_type", path, f"must be {wanted}, not {given}")
    elif rule == "enum":
        choices = tuple(str(choice) for choice in limit)
        near = _near(error.instance, choices) if isinstance(error.instance, str) and not hidden else ""
        given = "what was given" if hidden else _shown(error.instance)
        yield ValueProblem("wrong_value", path, f"{given} is not allowed", choices, near)
    elif rule in _LIMITS:
        text = _LIMITS[rule].format(limit=limit)
        given = "" if hidden else f"; given {_shown(error.instance)}"
        yield ValueProblem("out_of_bounds", path, text + given)
    elif rule in ("anyOf", "oneOf") and error.context:
        text = "; or ".join(str(problem) for part in error.context for problem in _problems(part, hidden=hidden))
        yield ValueProblem("wrong_value", path, f"fits none of what is allowed: {text}"[:500])
    else:
        yield ValueProblem("wrong_value", path, f"does not satisfy {rule}" if hidden else error.message[:300])


def unusable_text(value: JsonValue) -> str | None:
    """Why `value` cannot be sent to any platform whatever its schema says; None when it can."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which is no character"
    elif isinstance(value, float) and not math.isfinite(value):
        return "holds a number that is not finite"
    elif isinstance(value, dict):
        return next((text for pair in value.items() for part in pair if (text := unusable_text(part))), None)
    elif isinstance(value, list | tuple):
        return next((text for item in value if (text := unusable_text(item))), None)
    return None


def _as_any(value: Any) -> Any:
    """The schema's word, whose type depends on the keyword."""
    return value


def _kind(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    return "a mapping" if isinstance(value, dict) else "a list"


def _shown(value: JsonValue) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _near(given: str, choices: tuple[str, ...]) -> str:
    near = get_close_matches(given, choices, n=1, cutoff=0.6)
    return near[0] if near else ""


def _holds_selection(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return SELECTION_KEY in value or any(_holds_selection(item) for item in value.values())
    return isinstance(value, list) and any(_holds_selection(item) for item in value)


def _mappings(value: JsonValue) -> Iterator[JsonObject]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _mappings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _mappings(item)
