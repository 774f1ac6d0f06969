"""Changes beside a program, which leave the program itself alone: its place at a load balancer, files on the disk."""

from __future__ import annotations

from executors import haproxy
from executors.local import reclaiming
from executors.local.reclaiming import Kept, Reclaim
from executors.local.settings import LocalBinding
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened

SET_BACKEND, RECLAIM = "program.set_backend", "program.reclaim"
NAMES = frozenset({SET_BACKEND, RECLAIM})


class Beside:
    """The calls of `NAMES`. Every method raises CallError; who calls has asked the self-target guard."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def perform(self, name: str, binding: LocalBinding, arguments: JsonObject, deadline: float) -> JsonObject:
        """Carry it out."""
        if name == SET_BACKEND:
            return haproxy.change(backend_of(binding), *_traffic(arguments))
        return reclaiming.reclaim(reclaim_of(binding), self._kept, deadline)

    def before(self, name: str, binding: LocalBinding) -> JsonObject:
        """What `happened` compares with."""
        if name == SET_BACKEND:
            return haproxy.remember(backend_of(binding))
        return reclaiming.remember(reclaim_of(binding))

    def happened(self, name: str, binding: LocalBinding, arguments: JsonObject, before: JsonObject) -> Happened:
        """Whether it was carried out."""
        if name == SET_BACKEND:
            return haproxy.prove(backend_of(binding), *_traffic(arguments))
        return reclaiming.prove(reclaim_of(binding), self._kept, before)


def backend_of(binding: LocalBinding) -> haproxy.Backend:
    """The binding's server at a load balancer. Raises CallError(PERMANENT, `no_backend`)."""
    return haproxy.backend_of(binding.backend, f"program {binding.program!r}")


def reclaim_of(binding: LocalBinding) -> Reclaim:
    """What the binding lets go. Raises CallError(PERMANENT, `no_reclaim`)."""
    if binding.reclaim is None:
        raise CallError(
            FailureKind.PERMANENT,
            "no_reclaim",
            f"program {binding.program!r} has no `reclaim` in its binding, so nothing may be deleted for it; "
            "add reclaim: {globs: [/var/cache/shop/**/*.tmp], older_than_seconds: 86400}",
        )
    return binding.reclaim


def _traffic(arguments: JsonObject) -> tuple[haproxy.Traffic, int | None]:
    return haproxy.Traffic(arguments["state"]), arguments.get("weight")
