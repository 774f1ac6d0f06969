"""The executor's layer of the self-target guard: what a call resolves to is compared with UICI's own processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import psutil

from executors.local.calls import full_method
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfGuardLayers, SelfIdentity

_ON_ONE_GROUP = frozenset(
    f"supervisor.{method}"
    for method in (
        "startProcess",
        "startProcessGroup",
        "stopProcess",
        "stopProcessGroup",
        "signalProcess",
        "signalProcessGroup",
        "addProcessGroup",
        "removeProcessGroup",
        "clearProcessLog",
        "clearProcessLogs",
        "sendProcessStdin",
    )
)


class SelfGuard:
    """Refuses, with CallError(PERMANENT, `self_target`), what would act on UICI itself or on what contains it."""

    def __init__(self, identity: Callable[[], SelfIdentity], layers: SelfGuardLayers) -> None:
        self._identity_now = identity
        self._on = layers.executor

    @property
    def _identity(self) -> SelfIdentity:
        return self._identity_now()

    def check_program(self, program: str, instances: Iterable[str], pids: Iterable[int]) -> None:
        """Refuse when the program is UICI by name or by process."""
        if not self._on:
            return
        name = self._identity.is_named_by([program, *instances])
        if name is not None:
            raise _refusal(f"{name!r} is UICI itself, by name")
        for pid in pids:
            self._check_pid(pid, f"program {program!r}")

    def check_texts(self, texts: Iterable[str]) -> None:
        """Refuse arguments that name UICI or its state."""
        if self._on:
            named = self._identity.is_reached_by(list(texts))
            if named is not None:
                raise _refusal(f"{named!r:.100} is UICI itself")

    def check_request(
        self, method: str, params: list[JsonValue], processes: list[JsonObject], supervisor_pid: int, socket: str
    ) -> None:
        """Refuse a request to supervisord that would act on UICI. `processes` is what supervisord runs.

        What a request reaches is taken widely: supervisord and every process, unless it is known to act on the
        group that its first parameter names.
        """
        if not self._on:
            return
        if full_method(method) == "system.multicall":
            for inner in params[0] if params and isinstance(params[0], list) else []:
                if isinstance(inner, dict):
                    self.check_request(
                        str(inner.get("methodName", "")),
                        list(inner.get("params") or []),
                        processes,
                        supervisor_pid,
                        socket,
                    )
            return
        name = params[0] if params and isinstance(params[0], str) else None
        if full_method(method) in _ON_ONE_GROUP and name is not None:
            group = name.partition(":")[0]
            self._check_names([group])
            processes = [process for process in processes if group in (process["group"], process["name"])]
        else:
            self._check_pid(supervisor_pid, "this supervisord")
            if socket.lower() in {container.lower() for container in self._identity.containing}:
                raise _refusal("this supervisord contains UICI")
        for process in processes:
            self._check_names([process["name"], process["group"]])
            if process["pid"]:
                self._check_pid(int(process["pid"]), f"program {process['name']!r}")

    def _check_names(self, names: list[str]) -> None:
        programs = [name.rpartition("-")[0] for name in names]
        found = self._identity.is_named_by([*names, *programs])
        if found is not None:
            raise _refusal(f"{found!r} is UICI itself, by name")

    def _check_pid(self, pid: int, what: str) -> None:
        own = {os.getpid(), *self._identity.pids}
        if pid in own:
            raise _refusal(f"{what} is process {pid}, which is UICI itself")
        if pid in self._identity.ancestors or any(pid in _above(process) for process in own):
            raise _refusal(f"{what} is process {pid}, which contains UICI")


def _above(pid: int) -> set[int]:
    """What ends with `pid`'s end or takes it along: its parents and the leader of its process group."""
    above: set[int] = set()
    try:
        above.update(parent.pid for parent in psutil.Process(pid).parents())
        above.add(os.getpgid(pid))
    except psutil.NoSuchProcess as error:
        # A parent that ended meanwhile has given its children to another one.
        return above if error.pid == pid else _above(pid)
    except ProcessLookupError:
        return above  # it is gone, so nothing contains it
    return above


def _refusal(why: str) -> CallError:
    return CallError(
        FailureKind.PERMANENT,
        "self_target",
        f"refused by the executor's self-target guard: {why}; UICI never acts on it",
    )
