"""What people write of a target: its binding in a Docker environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from executors.diagnostics import DiagnosticName
from executors.haproxy import Backend
from executors.probes import Probe
from uici.model.base import Frozen

MAX_STOP_SECONDS = 120
LABEL_SERVICE = "com.docker.compose.service"
LABEL_PROJECT = "com.docker.compose.project"
LABEL_ONEOFF = "com.docker.compose.oneoff"
LABEL_NUMBER = "com.docker.compose.container-number"


def _printable(value: str) -> str:
    if "\0" in value:
        raise ValueError("a NUL character names nothing")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate names nothing") from None
    return value


Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_printable)]

Argv = Annotated[
    tuple[Annotated[str, Field(max_length=131_072), AfterValidator(_printable)], ...],
    Field(min_length=1, max_length=1000),
]


class DockerBinding(Frozen):
    """A target's binding in a Docker environment: exactly one of `container`, `labels` and `service`."""

    container: Text | None = Field(default=None, description="name or id of one container")
    labels: dict[Text, Annotated[str, AfterValidator(_printable)]] | None = Field(
        default=None, min_length=1, description="all containers that carry all of these labels"
    )
    service: Text | None = Field(default=None, description="a compose service's name: all its containers")
    project: Text | None = Field(
        default=None, description="the compose project of `service`; needed when several projects have one by that name"
    )
    health: Probe | None = None
    stop_seconds: int = Field(
        default=10, ge=0, le=MAX_STOP_SECONDS, description="from the stop signal to SIGKILL, in whole seconds"
    )
    diagnostics: dict[DiagnosticName, Argv] = Field(
        default_factory=dict,
        max_length=50,
        description="programs that run_diagnostic may run in the container, by name: whole argument lists, no shell",
    )
    backend: Backend | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> DockerBinding:
        given = [name for name in ("container", "labels", "service") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a binding has exactly one of container, labels and service, not {given or 'none'}")
        if self.project is not None and self.service is None:
            raise ValueError("project belongs to service")
        return self

    @property
    def is_group(self) -> bool:
        """Whether it may name several containers."""
        return self.container is None

    def label_filters(self) -> tuple[str, ...]:
        """What the Engine's `label` filter wants; empty for one container."""
        if self.labels is not None:
            return tuple(f"{key}={value}" for key, value in sorted(self.labels.items()))
        if self.service is None:
            return ()
        project = (f"{LABEL_PROJECT}={self.project}",) if self.project else ()
        return (f"{LABEL_SERVICE}={self.service}", *project)

    def __str__(self) -> str:
        """What messages call it."""
        if self.container is not None:
            return f"container {self.container!r:.120}"
        if self.service is not None:
            return f"service {self.service!r:.120}" + (f" of project {self.project!r:.120}" if self.project else "")
        return f"containers with labels {', '.join(self.label_filters())!r:.200}"
