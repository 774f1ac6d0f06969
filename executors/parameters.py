"""Arguments that mean the same on every platform. Executors mix them into classes of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from uici.model.base import Frozen

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_.-]{0,254}$"
"""The name of an environment variable."""


class LogLines(Frozen):
    """How much of a log."""

    lines: int = Field(default=200, ge=1, le=10_000)


class SnapshotLines(Frozen):
    """How much of a log, beside everything else that can be seen."""

    lines: int = Field(default=200, ge=1, le=2000, description="of the logs")


class Selection(Frozen):
    """Which of the things beside the target."""

    state: (
        Literal["running", "starting", "stopped", "exited", "failed", "paused", "restarting", "missing", "unknown"]
        | None
    ) = Field(default=None, description="only those in this state")
    limit: int = Field(default=100, ge=1, le=1000, description="how many at most")


class Diagnostic(Frozen):
    """Which of the diagnostics that the binding allows."""

    diagnostic: str = Field(max_length=63, description="the name of one of the binding's `diagnostics`")
    must_succeed: bool = Field(default=False, description="an exit code other than 0 is a failure of the call")


class Versioned(Frozen):
    """What shall run: exactly one of `image` and `version`."""

    image: str | None = None
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")] | None = Field(
        default=None, description="a tag of the present image's repository"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Versioned:
        if (self.image is None) is (self.version is None):
            raise ValueError("give exactly one of image and version")
        return self
