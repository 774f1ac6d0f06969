"""Resolving secret references. The value exists only where it is used, and in the list of what is never shown."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

from uici.access.fetching import Fetcher
from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind, did_you_mean, together
from uici.model.masking import register_secret
from uici.model.secret import SecretReference, is_reference

GROUP = "uici.secrets"
"""Entry points: the provider's name in a reference -> `(locator) -> value`. A provider raises LookupError when
it has no such secret and OSError or ValueError when it cannot be read; the text must not hold the value."""

_MAX_BYTES = 65_536
_fetcher = Fetcher()


class SecretText:
    """A secret value. Only `reveal` shows it: not `str`, `repr`, formatting, logging or pickling."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "SecretText(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


def from_environment(name: str) -> str:
    """Provider `env`: the value of an environment variable. Raises LookupError when it is not set or empty."""
    value = os.environ.get(name, "")
    if not value:
        raise LookupError(f"the environment variable {name} is not set, or empty")
    return value


def from_file(path: str) -> str:
    """Provider `file`: the text of a file without its trailing line ends, as editors and `echo` add them.

    Raises LookupError when the file is missing or empty, ValueError for a relative path, more than 64 KiB or
    what is not UTF-8, OSError when it cannot be read.
    """
    file = Path(path)
    if not file.is_absolute():
        raise ValueError(f"{path} is not an absolute path")
    if not file.is_file():
        raise LookupError(f"there is no file {path}")
    with file.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{path} is larger than {_MAX_BYTES} bytes")
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        # The decoder's own message quotes a piece of the content.
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not value:
        raise LookupError(f"the file {path} is empty")
    return value


@cache
def providers() -> dict[str, Callable[[str], str]]:
    """The installed providers by name, loaded once."""
    return {point.name: point.load() for point in entry_points(group=GROUP)}


def resolve(reference: str, *, where: str = "") -> SecretText:
    """The value behind `${provider:locator}`. Raises Problem, naming the reference and never a value."""
    if not is_reference(reference):
        # The text is not repeated: somebody may have written the secret itself.
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "not_a_secret_reference",
            "a secret is given by reference only",
            where=where,
            allowed=("${env:NAME}", "${file:/path}"),
            hint="put the value into an environment variable or a file, and refer to that",
        )
    parsed = SecretReference(reference)
    known = providers()
    provider = known.get(parsed.provider)
    if provider is None:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "unknown_secret_provider",
            f"{reference}: there is no secret provider {parsed.provider!r}{did_you_mean(parsed.provider, known)}",
            where=where,
            allowed=sorted(known),
        )
    try:
        value = _fetcher.fetch(parsed.provider, provider, parsed.locator)
    except (LookupError, OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else next(iter(error.args), None)
        reason = str(said or type(error).__name__)
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "secret_missing" if isinstance(error, LookupError) else "secret_unreadable",
            f"{reference}: {reason}",
            where=where,
            hint="set it before uici starts, or change the reference",
        ) from None
    # Before anybody can use it, so that no answer or error of whoever gets it can show it.
    register_secret(value)
    return SecretText(value)


def resolve_tree(document: JsonObject, *, where: str = "") -> JsonObject:
    """A copy of `document` in which every text that is wholly a reference is replaced by its value.

    Raises one Problem that lists every reference which could not be resolved, each with its JSON pointer.
    """
    problems: list[Problem] = []

    def walk(value: JsonValue, pointer: str) -> JsonValue:
        if isinstance(value, dict):
            return {key: walk(item, f"{pointer}/{_escape(key)}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [walk(item, f"{pointer}/{index}") for index, item in enumerate(value)]
        if isinstance(value, str) and is_reference(value):
            try:
                return resolve(value, where=pointer).reveal()
            except Problem as problem:
                problems.append(problem)
        return value

    resolved: JsonObject = walk(document, where)
    if problems:
        raise together(problems, place="pointer")
    return resolved


def _escape(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
