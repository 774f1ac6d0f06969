"""References inside configuration: `${parameters.replicas}` stands for a whole value and keeps its type. Below
the names may follow what `uici.model.selecting` allows, `${calls.found.items[?name=web].id}`.

Nothing is ever pasted into a text: a text that merely contains `${` is an error of the catalogue, and values that
come in through a reference are never looked at for references again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from uici.model.base import JsonValue
from uici.model.selecting import SelectionSyntaxError, selector

_SYNTAX = re.compile(r"\$\{([a-z]+)((?:\.[A-Za-z0-9_-]+)*)((?:\[|\.length\(\)).*)?\}", re.DOTALL)


class MissingItemError(LookupError):
    """A reference inside a list leads nowhere; leaving the item out would shift the others."""

    def __init__(self, reference: Reference) -> None:
        super().__init__(f"${{{reference.dotted}}} has no value here")
        self.reference = reference


class Omitted:
    """The value of a reference to something optional that was not given: its key disappears."""


OMITTED = Omitted()


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference: where it begins, and the path below."""

    root: str
    path: tuple[str, ...]
    """The names up to the first bracket."""
    rest: str = ""
    """What follows them: indices, filters, and what is below."""

    @property
    def dotted(self) -> str:
        """The whole as written."""
        return ".".join((self.root, *self.path)) + self.rest

    @property
    def below(self) -> str:
        """The selection below the root."""
        return (".".join(self.path) + self.rest).removeprefix(".")


def reference_in(text: str) -> Reference | None:
    """The reference that `text` as a whole is; None when it is none."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        return None
    reference = Reference(found[1], tuple(part for part in found[2].split(".") if part), found[3] or "")
    try:
        selector(reference.dotted)
    except SelectionSyntaxError:
        return None
    return reference


def broken_selection(text: str) -> str | None:
    """Why a text that would be a reference with brackets is none; None for any other text."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        return None
    try:
        selector(found[1] + found[2] + (found[3] or ""))
    except SelectionSyntaxError as error:
        return str(error)
    return None


def is_partial(value: JsonValue) -> bool:
    """Whether `value` is a text that contains `${` without being a reference as a whole."""
    return isinstance(value, str) and "${" in value and reference_in(value) is None


def references(value: JsonValue) -> Iterator[Reference]:
    """Every reference in `value`."""
    if isinstance(value, str):
        found = reference_in(value)
        if found is not None:
            yield found
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def resolve(value: JsonValue, lookup: Callable[[Reference], JsonValue]) -> JsonValue:
    """`value` with every reference replaced by what `lookup` gives; entries whose value is OMITTED disappear.

    Raises MissingItemError when an item of a list would disappear.
    """
    if isinstance(value, str):
        found = reference_in(value)
        return value if found is None else lookup(found)
    if isinstance(value, dict):
        resolved = {key: resolve(item, lookup) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not OMITTED}
    if isinstance(value, list | tuple):
        return [_item(item, lookup) for item in value]
    return value


def _item(value: JsonValue, lookup: Callable[[Reference], JsonValue]) -> JsonValue:
    resolved = resolve(value, lookup)
    if resolved is OMITTED:
        raise MissingItemError(next(references(value)))
    return resolved
