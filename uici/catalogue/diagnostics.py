"""Diagnostics: problems of configuration as values, all reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

_MOST_CHOICES = 50
"""Names listed with one problem; a large site has thousands, which nobody reads."""


class Position(NamedTuple):
    """Where something stands: lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One problem: where it is, a stable snake_case code, what is wrong, what is allowed, what was meant."""

    file: str
    line: int
    column: int
    code: str
    text: str
    choices: tuple[str, ...] = ()
    suggestion: str = ""

    def __str__(self) -> str:
        shown = f"{self.file}:{self.line}:{self.column}: {self.code}: {self.text}"
        if self.choices:
            shown += f"; valid choices {', '.join(self.choices)}"
        if self.suggestion:
            shown += f"; did you mean {self.suggestion!r}?"
        return shown


class CatalogueError(Exception):
    """Configuration that cannot be used, with every problem found, in order of file and line."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(sorted(set(diagnostics)))
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))


UNREADABLE = frozenset({"no_such_folder", "unreadable_folder", "unreadable_file"})
"""Codes of what could not even be read; all others tell of what was read and is wrong."""


class Report(list[Diagnostic]):
    """Problems collected while checking, so that one run of the checks reports all of them."""

    def __init__(self) -> None:
        super().__init__()
        self._nearest: dict[tuple[str, tuple[str, ...]], str] = {}

    def add(
        self, position: Position, code: str, text: str, *, choices: Iterable[str] = (), given: str | None = None
    ) -> None:
        """Add one problem; with `given`, the nearest of `choices` becomes the suggestion."""
        listed = tuple(choices)
        near = self._nearest_of(given, listed) if given is not None else ""
        if len(listed) > _MOST_CHOICES:
            listed = (*listed[:_MOST_CHOICES], f"and {len(listed) - _MOST_CHOICES} more")
        self.append(Diagnostic(position.file, position.line, position.column, code, text, listed, near))

    def _nearest_of(self, given: str, listed: tuple[str, ...]) -> str:
        # One missing name may be named by thousands, each time with the same thousands of choices.
        known = self._nearest.get((given, listed))
        if known is None:
            found = get_close_matches(given, listed, n=1, cutoff=0.6)
            known = self._nearest[given, listed] = found[0] if found else ""
        return known
