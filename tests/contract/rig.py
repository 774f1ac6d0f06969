"""What the conformance suite needs of a platform: a real service on it, and ways to break both.

A rig drives the platform behind the executor's back (signals, the platform's own tools), so that the suite
compares what the executor says with what really happened. One rig per platform; the suite asks it nothing
that only one platform could answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from uici.model.base import JsonObject, JsonValue
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import Executor

CANARY = "canary-c0ffee-d0-not-print"
"""Value of the environment variable SECRET_CANARY of every rig's service; it may appear in no error message."""

NOBODY = SelfIdentity()
ALL_LAYERS = SelfGuardLayers()


class Balancer(Protocol):
    """The load balancer of a rig's binding, looked at behind the executor's back."""

    def admin_state(self, server: str) -> int:
        """0 while `server` gets traffic, with 0x08 in it while it is drained."""

    def settings(self) -> JsonValue:
        """Everything that is set of its servers."""


class Rig(Protocol):
    """One real service with a health probe, in two versions, on one real platform."""

    platform: str
    """`local`, `docker`, `oci`, …"""
    prefix: str
    """What the named calls begin with: `program`, `container`, `oci`, …"""
    cannot: Mapping[str, str]
    """Short names of calls that the platform cannot carry out for this service -> the code of the refusal. Beside them
    `pids` and `processes` -> "" where the platform does not show those: they are null in answers."""
    crashed: str
    """The state of a service that was killed, while nobody has healed it: a platform may try that by itself."""

    patience: Mapping[str, JsonObject]
    """Short names of calls -> arguments that say when each gives up what does not get ready, where there are such."""

    def connection(self) -> JsonObject:
        """What environments.yml says of the way to the rig's platform."""

    def executor(self, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS) -> Executor:
        """A new executor on the rig's platform, as bootstrap would make it. The rig closes it at its own end."""

    def reset(self) -> JsonObject:
        """Bring the service to one running, healthy instance of version `good` and return its binding.

        The binding has a `health` probe and a short `stop_seconds` (1 or 2). The service writes the line
        `ready` to stdout when it starts, ignores nothing unless told, and has SECRET_CANARY=CANARY and
        COLOUR=blue in its environment.

        Its `diagnostics` are `greet` (writes `hello` and ends with 3), `env` (writes its environment), `endless`
        (writes without end) and `stuck` (never ends, and starts a second process that does not either). Its `backend`
        is the server that `balancer` starts; where the platform needs it, `reclaim` names what `litter` leaves.
        """

    def demand(self) -> JsonObject:
        """As `reset`, of a service that has a small disk of its own, a limit of its memory, and another service that it
        needs. It tries both again and again, says on its output what failed, and is not well until they succeed.
        """

    def full(self) -> AbstractContextManager[None]:
        """While inside, nothing more fits on the disk of a service that demands it, and it has noticed."""

    def lacking(self) -> AbstractContextManager[None]:
        """While inside, the other service that it needs is down, and it has noticed."""

    def exhaust(self) -> None:
        """Let it want more memory than it may have; returns when that has ended it, and the platform has noticed."""

    def drained(self) -> AbstractContextManager[None]:
        """While inside, the host takes no instances any more, and the one that it had has been moved away. Skips where
        the platform has no such thing.
        """

    def answers(self) -> bool:
        """Whether the service answers its probe now, asked without the executor."""

    def balancer(self) -> Balancer:
        """The load balancer of the binding's `backend`, started when first asked for, its server ready. May skip."""

    def litter(self) -> int:
        """Leave something that a reclaim removes, and much that it must not; returns how many things should go."""

    def littered(self) -> int:
        """How many of the things that should go are still there. Raises AssertionError when something else went."""

    def configuration(self) -> JsonObject:
        """All that is configured of the service, as the platform's own files and answers have it: what an undo must
        restore. Without what is each instance's own (ids, times), and without an order where none has a meaning.
        """

    def left_by(self, diagnostic: str) -> list[int]:
        """Processes of a diagnostic that still live, found by this machine's own means."""

    def version(self, name: str) -> str:
        """What deploy's `version` argument is for `good` (works) and `bad` (keeps running; its probe fails)."""

    def version_now(self) -> str:
        """Which of `good` and `bad` really runs, read from the service itself or the platform."""

    def environment_now(self) -> dict[str, str]:
        """The environment of the first running instance, read from the process or the platform itself."""

    def instances(self) -> dict[str, int]:
        """Id -> pid of the instances that really run now, by the platform's own tools (never by the executor).

        The same ids that get_service_status reports. Where the platform shows no pids, another number that is never
        the same again after a restart.
        """

    def crash(self, lasting: bool = False) -> None:
        """SIGKILL the service's process behind the platform's back; returns when the platform has noticed.

        A `lasting` crash stays until an instance is replaced or started by somebody, also where the platform itself
        starts what has ended again and again.
        """

    def stop(self) -> None:
        """Take the last instance away as a person would, behind UICI's back; returns when none runs."""

    def hang(self) -> None:
        """The service stays running, answers nothing and ignores SIGTERM (SIGSTOP does all three)."""

    def unreachable(self) -> AbstractContextManager[None]:
        """While inside, no executor can reach the platform (nobody listens there, and a managing executor may not
        simply start it); afterwards the same platform with the same service answers again.
        """

    def mutations(self) -> int:
        """How many changes the platform itself has recorded so far (its event stream, its log). Reads never count."""

    def named(self, text: str) -> JsonObject:
        """A binding that names its thing `text`, with nothing there by that name. `text` may be hostile."""

    def self_by_name(self) -> SelfIdentity:
        """An identity whose only mark is the service's *name*, as if UICI ran as that service."""

    def self_by_id(self) -> SelfIdentity:
        """An identity whose only mark is what the platform resolves the service to: pid, full container id."""

    def open_read(self) -> tuple[str, JsonObject]:
        """Name and arguments of an open call that only reads the service."""

    def open_change(self) -> tuple[str, JsonObject]:
        """Name and arguments of an open call that stops the service."""

    def close(self) -> None:
        """Remove everything that the rig made; close its executors."""


@dataclass(frozen=True)
class _Left:
    """What a reset left behind."""

    binding: JsonObject
    mutations: int
    instances: dict[str, int]
    configuration: JsonObject

    def is_untouched(self, rig: Rig) -> bool:
        return (
            rig.mutations() == self.mutations
            and rig.instances() == self.instances
            and rig.answers()
            and rig.configuration() == self.configuration
        )


_left: WeakKeyDictionary[Rig, _Left] = WeakKeyDictionary()


def fresh(rig: Rig) -> JsonObject:
    """The binding of a service as `reset` makes it.

    A reset is the dearest part of a test that only looks, so it is spared where by the platform's own word nothing has
    changed since the last one.
    """
    left = _left.get(rig)
    if left is None or not left.is_untouched(rig):
        binding = rig.reset()
        left = _left[rig] = _Left(binding, rig.mutations(), rig.instances(), rig.configuration())
    return deepcopy(left.binding)
