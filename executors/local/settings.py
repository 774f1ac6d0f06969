"""What people write: an environment's `connection` and a target's binding."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from executors.diagnostics import DiagnosticName, LookLimits
from executors.haproxy import Backend
from executors.local.reclaiming import Reclaim
from executors.probes import Probe
from uici.model.base import Frozen

PROGRAM_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,254}$"
MAX_REPLICAS = 64
MAX_STOP_SECONDS = 60.0


def _passable(value: str) -> str:
    # What execve cannot take would fail only at the next start, when nobody looks any more.
    if "\0" in value:
        raise ValueError("a NUL character cannot be passed to a process")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate cannot be passed to a process") from None
    return value


Text = Annotated[str, AfterValidator(_passable)]
Variable = Annotated[str, Field(pattern=VARIABLE_PATTERN)]
Argv = Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)]
Variables = dict[Variable, Text]


class LocalSettings(Frozen):
    """An environment's `connection`. Durations in seconds."""

    directory: str = Field(
        default="",
        description="where supervisord's files, the programs' specifications and logs live; "
        "empty = `supervisor` in the state directory",
    )
    manage: bool = Field(
        default=True,
        description="UICI starts supervisord when it is needed and not there; "
        "false = somebody else runs `supervisord -c <directory>/supervisord.conf`",
    )
    connect_seconds: float = Field(default=2.0, gt=0, le=60, description="longest wait for supervisord's socket")
    answer_seconds: float = Field(default=10.0, gt=0, le=300, description="longest wait for one answer of supervisord")
    startup_seconds: float = Field(default=20.0, gt=0, le=300, description="longest wait for a new supervisord")
    settle_seconds: float = Field(
        default=0.3, ge=0, le=60, description="a program that ends within this time after its start has failed to start"
    )
    log_megabytes: int = Field(default=10, ge=1, le=1024, description="a program's log is rotated at this size, once")
    limits: LookLimits = LookLimits()


class ProgramVersion(Frozen):
    """What is different in one version; what is not given comes from the binding."""

    command: Argv | None = None
    directory: Text | None = None
    environment: Variables = Field(default_factory=dict)


class LocalBinding(Frozen):
    """A target's binding in a local environment."""

    program: str = Field(pattern=PROGRAM_PATTERN)
    command: Argv | None = Field(
        default=None, description="argument list; no shell. Without it the program must have been installed before"
    )
    directory: Text | None = Field(default=None, description="working directory; default /")
    environment: Variables = Field(default_factory=dict)
    replicas: int = Field(default=1, ge=0, le=MAX_REPLICAS)
    versions: dict[str, ProgramVersion] = Field(default_factory=dict)
    version: str | None = Field(default=None, description="which of `versions` runs at first")
    health: Probe | None = None
    stop_seconds: float = Field(
        default=10.0, gt=0, le=MAX_STOP_SECONDS, description="from SIGTERM to SIGKILL, rounded up to whole seconds"
    )
    diagnostics: dict[DiagnosticName, Argv] = Field(
        default_factory=dict,
        max_length=50,
        description="programs that run_diagnostic may run, by name: whole argument lists, no shell",
    )
    reclaim: Reclaim | None = None
    backend: Backend | None = None

    @model_validator(mode="after")
    def _version_exists(self) -> LocalBinding:
        if self.version is not None and self.version not in self.versions:
            raise ValueError(
                f"version {self.version!r} is none of {', '.join(self.versions) or 'the versions: there are none'}"
            )
        if self.directory is not None and not self.directory.startswith("/"):
            raise ValueError("directory is an absolute path")
        return self
