"""What a binding already says cannot work, said while a plan is made instead of when its calls are sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from executors.diagnostics import argv_of
from executors.local.beside import RECLAIM, SET_BACKEND, backend_of, reclaim_of
from executors.local.settings import LocalBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.errors import did_you_mean


def refuse_impossible(name: str, arguments: JsonObject) -> None:
    """Raise the CallError that the call would end with, where target and arguments alone decide it.

    Arguments that are not known yet, and bindings that are wrong altogether, are judged when the call is made.
    """
    try:
        binding = LocalBinding.model_validate(arguments.get("target"))
    except ValidationError:
        return
    if name in ("program.backend", SET_BACKEND):
        backend_of(binding)
    elif name == RECLAIM:
        reclaim_of(binding)
    elif name == "program.diagnose" and isinstance(arguments.get("diagnostic"), str):
        argv_of(binding.diagnostics, arguments["diagnostic"], f"program {binding.program!r}")
    elif binding.command is not None and name == "program.deploy" and isinstance(arguments.get("version"), str):
        refuse_unknown_version(binding.program, arguments["version"], binding.versions)
    elif binding.command is not None and name == "program.rollback" and not binding.versions:
        raise CallError(
            FailureKind.PERMANENT,
            "no_previous_version",
            f"program {binding.program!r} has no `versions` in its binding, so there is none to go back to",
        )


def refuse_unknown_version(program: str, version: str, versions: Iterable[str]) -> None:
    """Raise CallError(PERMANENT, `unknown_version`) unless the binding has the version."""
    known = tuple(versions)
    if version not in known:
        raise CallError(
            FailureKind.PERMANENT,
            "unknown_version",
            f"program {program!r} has no version {version!r:.200}; valid choices: "
            f"{', '.join(known) or 'none, the binding gives no versions'}{did_you_mean(version, known)}",
        )
