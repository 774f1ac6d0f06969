"""The short answers about schemas against the whole validator: a yes is never wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from uici.model import parameters
from uici.model.parameters import schema_problem
from uici.model.plain_schemas import plainly_satisfies, plainly_sound

NAMES = st.sampled_from(["a", "b", "ab", ""])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.5]) | NAMES
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    small = st.integers(0, 3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
            "enum": st.lists(VALUES, max_size=3),
            "const": VALUES,
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.sampled_from([0, 1.0, 2]),
            "minLength": small,
            "maxLength": small,
            "pattern": st.sampled_from(["^a", "b$", "^[ab]*$", "", "a\\$"]),
            "minItems": small,
            "uniqueItems": st.booleans(),
            "items": inner,
            "required": st.lists(NAMES, max_size=2, unique=True),
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "maxProperties": small,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "description": NAMES,
        },
    )


SCHEMAS: st.SearchStrategy[Any] = st.recursive(st.booleans(), keywords, max_leaves=6)
UNSOUND = st.dictionaries(
    st.sampled_from(["type", "enum", "minLength", "pattern", "items", "required", "properties", "minimum", "title"]),
    VALUES | st.sampled_from(["string", "("]),
    max_size=3,
)


@given(SCHEMAS | UNSOUND)
def test_what_is_plainly_sound_is_sound(schema: Any) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        assert not plainly_sound(schema)
        assert schema_problem(schema) is not None


@given(SCHEMAS, VALUES)
def test_what_plainly_satisfies_satisfies(schema: Any, value: Any) -> None:
    if plainly_satisfies(schema, value):
        assert list(parameters._Validator(schema).iter_errors(value)) == []


def test_common_schemas_get_the_short_answer() -> None:
    schema = {
        "type": "object",
        "properties": {"level": {"type": "integer", "minimum": 0}, "mode": {"enum": ["fast", "slow"]}},
        "required": ["level"],
        "additionalProperties": False,
    }
    assert plainly_sound(schema)
    assert plainly_satisfies(schema, {"level": 1, "mode": "slow"})
    for wrong in (
        {"level": True},
        {"level": -1},
        {"mode": "slow"},
        {"level": 1, "mode": "quick"},
        {"level": 1, "x": 1},
    ):
        assert not plainly_satisfies(schema, wrong)
