"""Alertmanager's matchers: `name="v"`, `name!="v"`, `name=~"re"`, `name!~"re"`.

Regular expressions are anchored at both ends and a missing label counts as the empty text, as in Alertmanager
(https://prometheus.io/docs/alerting/latest/configuration/#matcher).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from uici.model.patterns import Pattern, pattern

_SYNTAX = re.compile(
    r"""\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*
        (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"'{},=!~]+))\s*""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


class Matcher:
    """One parsed matcher. Immutable; equal when its text is equal."""

    __slots__ = ("_pattern", "label", "operator", "text", "value")

    def __init__(self, text: str) -> None:
        """Parse `text`. Raises ValueError with what is allowed when it is not a matcher."""
        found = _SYNTAX.fullmatch(text)
        if found is None:
            raise ValueError(
                f'{text!r} is not a matcher; write label="value", label!="value", label=~"regex" or label!~"regex"'
            )
        quoted = found["quoted"]
        self.text = text
        self.label: str = found["label"]
        self.operator: str = found["operator"]
        self.value: str = (
            found["bare"] if quoted is None else re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], "\\" + m[1]), quoted)
        )
        self._pattern: Pattern | None = None
        if self.operator in ("=~", "!~"):
            try:
                self._pattern = pattern(self.value, dot_all=True)
            except ValueError as error:
                raise ValueError(f"{text!r}: {error}") from None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` satisfy this matcher; a label that is missing counts as the empty text."""
        value = labels.get(self.label, "")
        if self._pattern is None:
            hit = value == self.value
        else:
            hit = self._pattern.fits(value)
        return hit is not self.operator.startswith("!")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matcher) and (self.label, self.operator, self.value) == (
            other.label,
            other.operator,
            other.value,
        )

    def __hash__(self) -> int:
        return hash((self.label, self.operator, self.value))

    def __repr__(self) -> str:
        return f"Matcher({self.text!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let frozen types declare matchers: parsed from text, written back as text."""
        return core_schema.no_info_plain_validator_function(
            cls._of, serialization=core_schema.plain_serializer_function_ser_schema(lambda matcher: matcher.text)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "string",
            "description": 'A matcher: label="value", !=, =~ or !~.',
            "pattern": r"""^\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(=~|!~|!=|=)\s*("([^"\\]|\\.)*"|[^\s"'{},=!~]+)\s*$""",
        }

    @classmethod
    def _of(cls, value: object) -> Matcher:
        if isinstance(value, Matcher):
            return value
        if not isinstance(value, str):
            raise ValueError(f"a matcher is a text, not {type(value).__name__}")
        return parse_matcher(value)


@lru_cache(maxsize=65536)
def parse_matcher(text: str) -> Matcher:
    """Parse and cache one matcher. Raises ValueError as `Matcher` does."""
    return Matcher(text)


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher matches; no matcher at all matches everything."""
    for matcher in matchers:  # a generator costs more than most matchers
        if not matcher.matches(labels):
            return False
    return True
