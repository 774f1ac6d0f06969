"""Conditions over the results of operations: the one small language that findings, preconditions and
verifications share. Each condition selects a field of a result (`uici.model.selecting`); there are no expressions.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from uici.model.base import Frozen, JsonValue
from uici.model.patterns import pattern
from uici.model.selecting import SelectionSyntaxError, same, selector

_MISSING = object()
TESTS = ("equals", "not_equals", "one_of", "matches", "at_least", "at_most", "exists")


class Condition(Frozen):
    """One test on one field, for example `{field: exit_code, equals: 137}`.

    A field that the result lacks fails every test except `exists: false`, so an observation that could
    not be made never establishes a finding.
    """

    field: str = Field(
        min_length=1,
        description="what of the result, e.g. resources.memory_percent, items[0].id, conditions[?type=Ready].status",
    )
    equals: JsonValue = None
    not_equals: JsonValue = None
    one_of: tuple[JsonValue, ...] | None = None
    matches: str | None = Field(
        default=None, description="regular expression searched in a text or in any item of a list"
    )
    at_least: float | None = None
    at_most: float | None = None
    exists: bool | None = None

    @field_validator("field")
    @classmethod
    def _selects(cls, value: str) -> str:
        return plain_selection(value)

    @field_validator("matches")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            pattern(value)
        return value

    @model_validator(mode="after")
    def _one_test(self) -> Condition:
        given = [name for name in TESTS if name in self.model_fields_set]
        if len(given) != 1:
            raise ValueError(
                f"a condition needs exactly one test of {', '.join(TESTS)}; got {', '.join(given) or 'none'}"
            )
        if given[0] not in ("equals", "not_equals") and getattr(self, given[0]) is None:
            # Null would otherwise read as 0, or as a pattern that everything matches.
            raise ValueError(f"{given[0]} needs a value; only equals and not_equals may be compared with null")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        # Written out with all its tests a condition could not be read back: it must have exactly one.
        written: dict[str, JsonValue] = handler(self)
        return {name: value for name, value in written.items() if name in self.model_fields_set}

    def holds(self, result: JsonValue) -> bool:
        """Whether `result`, the JSON result of an operation, satisfies this condition."""
        value = select(result, self.field, _MISSING)
        written = self.__pydantic_fields_set__
        if "exists" in written:
            return (value is not _MISSING and value is not None) is self.exists
        if value is _MISSING:
            return False
        if "equals" in written:
            return same(value, self.equals)
        if "not_equals" in written:
            return not same(value, self.not_equals)
        if self.one_of is not None:
            return any(same(value, choice) for choice in self.one_of)
        if self.matches is not None:
            wanted = pattern(self.matches)
            texts = value if isinstance(value, list) else [value]
            return any(isinstance(text, str) and wanted.found_in(text) for text in texts)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def describe(self) -> str:
        """The condition in words, for denials and reports."""
        (test,) = self.model_fields_set - {"field"}
        return f"{self.field} {test.replace('_', ' ')} {getattr(self, test)!r}"


def all_hold(conditions: Iterable[Condition], result: JsonValue) -> bool:
    """Whether every condition holds for `result`."""
    for condition in conditions:
        if not condition.holds(result):
            return False
    return True


def plain_selection(text: str) -> str:
    """`text`, which must be a selection without references. Raises ValueError."""
    try:
        found = selector(text)
    except SelectionSyntaxError as error:
        raise ValueError(str(error)) from None
    if found.parameters:
        raise ValueError(f"{text!r}: here a filter compares with a value, not with ${found.parameters[0]}")
    return text


def select(value: JsonValue, path: str, default: JsonValue = None) -> JsonValue:
    """What `path` selects; `default` where that is nothing, or not one thing."""
    return selector(path).of_or(value, default)
