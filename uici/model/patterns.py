"""Regular expressions that the configuration gives and foreign texts are held against.

RE2's, whose time grows with the length of the text and nothing else: with Python's own, one long label that somebody
sends to an expression that is not even careless keeps the whole process busy for minutes. Alertmanager and Prometheus
take the same syntax (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

from functools import lru_cache

import re2


class Pattern:
    """One expression. Immutable."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str, *, dot_all: bool = False) -> None:
        """With `dot_all` a dot is any character. Raises ValueError with what is allowed when it is no expression."""
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.dot_nl = dot_all
        self.text = text
        try:
            self._compiled = re2.compile(_bytes(text), options)
        except re2.error as error:
            raise ValueError(
                f"{text!r} is not a regular expression: {_said(error)}; the syntax is RE2's, as in Alertmanager: "
                "without look-ahead and back-references"
            ) from None

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere in `text`."""
        return self._compiled.search(_bytes(text)) is not None

    def fits(self, text: str) -> bool:
        """Whether it matches the whole of `text`."""
        return self._compiled.fullmatch(_bytes(text)) is not None


@lru_cache(maxsize=65_536)
def pattern(text: str, *, dot_all: bool = False) -> Pattern:
    """The expression, kept. Raises ValueError as `Pattern` does."""
    return Pattern(text, dot_all=dot_all)


def _bytes(text: str) -> bytes:
    # What is no character fits nothing but a dot, and shall not be the end of a diagnosis.
    return text.encode(errors="replace")


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
