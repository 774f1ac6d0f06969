"""What a binding already says cannot work, said while a plan is made instead of when its calls are sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import ValidationError

from executors.diagnostics import argv_of
from executors.oci.settings import Backend, OciBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_NO_PROCESS = "a function has no process between its invocations"
_NO_IMAGE = "an instance gets its image when it is made; change the instance configuration and replace instances"
_NO_VARIABLES = "a compute instance has no environment variables of its own; use Run Command or the open call"
_CANNOT: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("function", "start"): _NO_PROCESS,
        ("function", "stop"): _NO_PROCESS,
        ("function", "restart"): _NO_PROCESS,
        ("function", "scale"): "Oracle Cloud scales functions by itself",
        ("function", "diagnose"): _NO_PROCESS,
        ("function", "usage"): _NO_PROCESS,
        ("instance", "scale"): "it is one instance; bind an instance_pool to scale it",
        ("instance", "configure"): _NO_VARIABLES,
        ("instance", "deploy"): _NO_IMAGE,
        ("instance", "rollback"): _NO_IMAGE,
        ("instance_pool", "configure"): _NO_VARIABLES,
        ("instance_pool", "deploy"): _NO_IMAGE,
        ("instance_pool", "rollback"): _NO_IMAGE,
        ("instance_pool", "update"): "its instances get their shape from the pool's instance configuration",
        ("container_instance", "diagnose"): "Oracle Cloud runs no program inside a container instance that runs",
        ("container_instances", "diagnose"): "Oracle Cloud runs no program inside a container instance that runs",
    }
)


def refuse_impossible(name: str, arguments: JsonObject) -> None:
    """Raise the CallError that the call would end with, where target and arguments alone decide it.

    Arguments that are not known yet, and bindings that are wrong altogether, are judged when the call is made.
    """
    try:
        binding = OciBinding.model_validate(arguments.get("target"))
    except ValidationError:
        return
    verb = name.removeprefix("oci.")
    if verb == "diagnose" and isinstance(arguments.get("diagnostic"), str) and (binding.kind, verb) not in _CANNOT:
        argv_of(binding.diagnostics, arguments["diagnostic"], binding)
    refuse_unfit(verb, binding)
    if verb in ("backend", "set_backend"):
        backend_of(binding)
    elif verb == "scale" and isinstance(arguments.get("replicas"), int):
        refuse_unscalable(binding, arguments["replicas"])
    elif verb == "update" and 0 in (arguments.get("cpus"), arguments.get("memory_bytes")):
        raise CallError(
            FailureKind.PERMANENT, "no_limit_to_lift", f"{binding} always has a size: give more instead of 0"
        )


def refuse_unfit(verb: str, binding: OciBinding) -> None:
    """Raise CallError(PERMANENT, `not_possible`) for a verb that makes no sense for such a thing."""
    why = _CANNOT.get((binding.kind, verb))
    if verb == "logs" and binding.kind == "function" and binding.log is None:
        why = "a function writes only to the Logging service; set log and log_group in the target's binding"
    if why is not None:
        raise CallError(FailureKind.PERMANENT, "not_possible", f"{verb} is not possible for {binding}: {why}")


def refuse_unscalable(binding: OciBinding, replicas: int) -> None:
    """Raise CallError(PERMANENT, `not_scalable`) for more than one of what is bound as one."""
    if binding.kind == "container_instance" and replicas != 1:
        raise CallError(
            FailureKind.PERMANENT,
            "not_scalable",
            f"{binding} is bound as one container instance; bind `container_instances` by tags or name_prefix to "
            "scale it",
        )


def backend_of(binding: OciBinding) -> Backend:
    """The binding's backend. Raises CallError(PERMANENT, `no_backend`) when it names none."""
    if binding.backend is None:
        raise CallError(
            FailureKind.PERMANENT,
            "no_backend",
            f"{binding} has no `backend` in its binding, so no load balancer is known for it; "
            "add backend: {load_balancer: OCID, backend_set: NAME, backend: 'ADDRESS:PORT'}",
        )
    return binding.backend
