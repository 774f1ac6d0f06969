"""Diagnostics that a binding lists by name, and how much of a look is kept; for every executor alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.errors import did_you_mean

MAX_LINE = 4096
MARK = "UICI_DIAGNOSTIC"
"""Variable that everything which a diagnostic starts inherits, so that nothing of it stays behind."""

_MARKED = (
    'for entry in /proc/[0-9]*; do while IFS= read -r text || [ -n "$text" ]; do case "$text" in *"$1"*) '
    '%s; break;; esac; done <"$entry/environ"; done 2>/dev/null'
)
# Scripts for a container's shell, in nothing but its own words: an image may have no more than that. Fixed texts; the
# mark comes as an argument of its own.
END_MARKED = _MARKED % 'kill -KILL "${entry#/proc/}"'
"""Ends everything that inherited the mark."""
LEFT_MARKED = _MARKED % "exit 1"
"""Exit code 1 while something that inherited the mark is there."""

DiagnosticName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class LookLimits(Frozen):
    """What looking may cost: part of an environment's `connection`."""

    diagnostic_seconds: float = Field(default=20.0, gt=0, le=300, description="then a diagnostic is ended")
    output_bytes: int = Field(default=65_536, ge=1, le=8 * 1024 * 1024, description="then a diagnostic is ended, too")
    output_lines: int = Field(default=1000, ge=1, le=100_000, description="of a diagnostic, the first ones")
    snapshot_bytes: int = Field(default=262_144, ge=4096, le=16 * 1024 * 1024, description="of a snapshot as JSON")


class Output(Frozen):
    """What a diagnostic wrote, and how it ended."""

    content: bytes
    exit_code: int | None
    cut: bool = False
    """It wrote more than is kept, and was ended."""
    timed_out: bool = False

    def document(self, diagnostic: str, instance: str | None, limits: LookLimits) -> JsonObject:
        """As run_diagnostic reports it."""
        lines = self.content[: limits.output_bytes].decode("utf-8", "replace").splitlines()
        shortened = any(len(line) > MAX_LINE for line in lines)
        return {
            "diagnostic": diagnostic,
            "instance": instance,
            "exit_code": self.exit_code,
            "lines": [line[:MAX_LINE] for line in lines[: limits.output_lines]],
            "truncated": self.cut or shortened or len(lines) > limits.output_lines,
            "timed_out": self.timed_out,
        }


DIAGNOSE_RETURNS = {
    "diagnostic": "its name",
    "instance": "where it ran",
    "exit_code": "of the program; null when it was ended. Other than 0 is a result, not an error",
    "lines": "what it wrote to both outputs, each line cut at 4096 characters",
    "truncated": "whether it wrote more than is kept",
    "timed_out": "whether it took too long and was ended",
}


def argv_of(diagnostics: Mapping[str, tuple[str, ...]], name: str, what: object) -> tuple[str, ...]:
    """The whole argument list of a diagnostic.

    Raises CallError(PERMANENT, `unknown_diagnostic`) naming those that the binding of `what` allows.
    """
    argv = diagnostics.get(name)
    if argv is None:
        allowed = ", ".join(diagnostics) or "none; list them in the binding, as diagnostics: {disk: [df, -P, /data]}"
        raise CallError(
            FailureKind.PERMANENT,
            "unknown_diagnostic",
            f"{what} has no diagnostic {name!r:.100}; its binding allows {allowed}{did_you_mean(name, diagnostics)}",
        )
    return argv


def unsuccessful(output: Output, diagnostic: str, what: object) -> CallError:
    """The failure of a diagnostic that had to succeed."""
    ended = "took too long" if output.timed_out else f"ended with exit code {output.exit_code}"
    said = " ".join(output.content.decode("utf-8", "replace").split())[-600:]
    return CallError(
        FailureKind.PERMANENT, "diagnostic_failed", f"{diagnostic} of {what} {ended}: {said or 'it wrote nothing'}"
    )
