"""What a binding rules out, said while a plan is made instead of when its calls are sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import ValidationError

from executors.diagnostics import argv_of
from executors.haproxy import backend_of
from executors.kubernetes import read_calls
from executors.kubernetes.settings import Kind, KubernetesBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

ROLLED = (Kind.DEPLOYMENT, Kind.STATEFUL_SET, Kind.DAEMON_SET)
"""Kinds whose pods follow their template."""
_KINDS: Mapping[str, tuple[Kind, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("workload.deploy", "workload.rollback", "workload.configure", "workload.update"), ROLLED),
        "workload.restart": ROLLED,
        "workload.scale": (Kind.DEPLOYMENT, Kind.STATEFUL_SET),
        **dict.fromkeys(("workload.start", "workload.stop"), (Kind.DEPLOYMENT, Kind.STATEFUL_SET, Kind.CRON_JOB)),
        "workload.replace": (*ROLLED, Kind.JOB),
        "node": (Kind.NODE,),
        "schedule": (Kind.CRON_JOB,),
        "job": (Kind.JOB, Kind.CRON_JOB),
    }
)


def refuse_kind(name: str, binding: KubernetesBinding) -> None:
    """Raise CallError(PERMANENT, `wrong_kind`) where the call means nothing for what is bound."""
    kinds = _KINDS.get(name) or _KINDS.get(name.partition(".")[0])
    if kinds is not None and binding.kind not in kinds:
        raise CallError(
            FailureKind.PERMANENT,
            "wrong_kind",
            f"{binding} cannot be acted on by {name}; it takes {', '.join(kinds)}: bind a target to one of these",
        )


def refuse_impossible(name: str, arguments: JsonObject) -> None:
    """Raise the CallError that the call would end with, where the target alone decides it.

    Bindings that are wrong altogether, or not known yet, are judged when the call is made.
    """
    try:
        binding = KubernetesBinding.model_validate(arguments.get("target"))
    except ValidationError:
        return
    refuse_kind(name, binding)
    if name in (read_calls.BACKEND, read_calls.SET_BACKEND):
        backend_of(binding.backend, binding)
    elif name == read_calls.DIAGNOSE and isinstance(arguments.get("diagnostic"), str):
        argv_of(binding.diagnostics, arguments["diagnostic"], binding)
