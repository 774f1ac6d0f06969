"""What a binding already says cannot work, said while a plan is made instead of when its calls are sent. Pure."""

from __future__ import annotations

from pydantic import ValidationError

from executors import haproxy
from executors.diagnostics import argv_of
from executors.docker.settings import DockerBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind


def refuse_impossible(name: str, arguments: JsonObject) -> None:
    """Raise the CallError that the call would end with, where target and arguments alone decide it.

    Arguments that are not known yet, and bindings that are wrong altogether, are judged when the call is made.
    """
    try:
        binding = DockerBinding.model_validate(arguments.get("target"))
    except ValidationError:
        return
    if name in ("container.backend", "container.set_backend"):
        haproxy.backend_of(binding.backend, binding)
    elif name == "container.diagnose" and isinstance(arguments.get("diagnostic"), str):
        argv_of(binding.diagnostics, arguments["diagnostic"], binding)
    elif name == "container.scale" and isinstance(arguments.get("replicas"), int):
        refuse_unscalable(binding, arguments["replicas"])


def refuse_unscalable(binding: DockerBinding, replicas: int) -> None:
    """Raise CallError(PERMANENT, `not_scalable`) for more than one of what is bound as one container."""
    if not binding.is_group and replicas != 1:
        raise CallError(
            FailureKind.PERMANENT,
            "not_scalable",
            f"{binding} is bound as one container; bind a compose `service` or `labels` to scale it",
        )
