"""Problems: errors that people can act on. Each says what was wrong, where, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from enum import StrEnum

from uici.model.base import JsonObject


class ProblemKind(StrEnum):
    """What went wrong in general; the service maps it to a status, the command line to an exit code."""

    INVALID = "invalid"  # 400: the request is malformed
    UNAUTHENTICATED = "unauthenticated"  # 401
    FORBIDDEN = "forbidden"  # 403
    NOT_FOUND = "not_found"  # 404
    CONFLICT = "conflict"  # 409: the present state does not allow it
    TOO_LARGE = "too_large"  # 413
    UNPROCESSABLE = "unprocessable"  # 422: well-formed, but it means nothing here
    TOO_MANY = "too_many"  # 429
    UNAVAILABLE = "unavailable"  # 503: try again later


class Problem(Exception):  # noqa: N818  # the name of RFC 9457, whose documents these become
    """An error whose text reaches people. It never holds a secret."""

    def __init__(
        self,
        kind: ProblemKind,
        code: str,
        detail: str,
        *,
        where: str = "",
        allowed: Iterable[str] = (),
        hint: str = "",
        errors: tuple[JsonObject, ...] = (),
        retry_seconds: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.code = code
        """Stable snake_case name."""
        self.detail = detail
        self.where = where
        """A JSON pointer, a file:line:column, or the name of a parameter."""
        self.allowed = tuple(allowed)
        self.hint = hint
        """What to do."""
        self.errors = errors
        """Further problems of the same request, all at once."""
        self.retry_seconds = retry_seconds
        """When to try again, where that is known."""


def together(problems: Sequence[Problem], *, place: str = "where") -> Problem:
    """One Problem for several: the first one's text, and all of them under `errors`, their places named `place`."""
    first = problems[0]
    return Problem(
        first.kind,
        first.code,
        first.detail,
        where=first.where,
        allowed=first.allowed,
        hint=first.hint,
        errors=tuple({place: each.where, "code": each.code, "detail": each.detail} for each in problems),
    )


def unknown_environment(name: str, known: Collection[str], where: str = "") -> Problem:
    """The Problem of an environment that the site does not have."""
    return Problem(
        ProblemKind.UNPROCESSABLE,
        "unknown_environment",
        f"there is no environment {name!r}{did_you_mean(name, known)}",
        where=where,
        allowed=sorted(known),
    )


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the empty text when nothing is near."""
    near = get_close_matches(given, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
