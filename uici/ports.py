"""Protocols of what UICI talks to; each has at least two implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import Field

from uici.model.base import Frozen, JsonObject
from uici.model.call import Call, CallSpec, Happened, Risk
from uici.model.checkup import Check
from uici.model.grants import Account, Grants
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.rehearsal import Rehearsal


class ConnectionReport(Frozen):
    """What a look at the platform's door says."""

    ok: bool
    detail: str
    version: str = ""
    at: datetime | None = None
    """The platform's own time; None where it has UICI's clock, or says none."""
    checks: tuple[Check, ...] = ()
    """What the enabled operations need of the platform: its version, permissions, safety of the way to it."""


class ExecutorContext(Frozen):
    """What every executor is given beside its own settings."""

    environment: str
    settings: JsonObject = Field(repr=False)
    """The environment's `connection`, validated by the executor's own `settings_model`, secrets resolved."""
    identity: SelfIdentity
    """What the process itself is."""
    selves: Callable[[], SelfIdentity] | None = None
    """What UICI is in all processes that share its state, as it is known now; None where there is only this one."""
    layers: SelfGuardLayers = SelfGuardLayers()
    state_directory: str = ""
    """A folder that the executor may own (supervisor files, kept state)."""

    def whole_identity(self) -> SelfIdentity:
        """What must not be acted on: to be asked anew each time, since processes come and go."""
        return self.identity if self.selves is None else self.selves()


class Executor(Protocol):
    """The adapter of one platform. Found by entry point in the group `uici.executors`; the class object's
    attributes must be readable without the platform's SDK.

    Methods block; callers run them in threads. They are safe to call from several threads at once. Every
    method raises `CallError` on failure and never retries a mutating call by itself.
    """

    platform: ClassVar[str]
    call_specs: ClassVar[Mapping[str, CallSpec]]
    settings_model: ClassVar[type[Frozen]]
    binding_model: ClassVar[type[Frozen]]

    @property
    def rehearses(self) -> bool:
        """Whether the platform can be asked what a call would do; nobody asks `rehearse` of one that cannot."""

    def __init__(self, context: ExecutorContext) -> None:
        """Store what is given; no I/O. The connection is made at the first call."""

    @classmethod
    def classify(cls, name: str, arguments: JsonObject) -> tuple[bool, Risk]:
        """Whether this call mutates, and its risk, by what it does; pure, needs no SDK.

        For a named call the published values. For an open call at most the published upper bound; whatever
        is not surely read-only is the upper bound. Raises CallError(PERMANENT, `unknown_call`) for a name
        that the executor does not publish.
        """

    @classmethod
    def grants(cls, calls: Iterable[tuple[str, JsonObject]], account: Account) -> Grants | None:
        """What the platform's own access control has to allow the account for these calls; pure, needs no SDK.

        None where the platform has none that could be told. Arguments may hold references, as texts, in place of
        values that only a run knows.
        """

    def perform(self, call: Call) -> JsonObject:
        """Carry out one call and return its result, documented by the spec's `returns`."""

    def before(self, call: Call) -> JsonObject:
        """The state that `happened` will compare with; read-only. Empty when the spec is not provable."""

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """Whether the platform's state shows that `call`, perhaps sent after `before` was taken, was carried out."""

    def rehearse(self, call: Call) -> Rehearsal | None:
        """What the platform itself says that this call would do; None where it cannot be asked.

        Changes nothing. A refusal by the platform is an answer; CallError says that there was none. It is not asked
        about UICI itself: what the self-target guard refuses is a refusal here too. Takes no longer than the call's
        `timeout_seconds`.
        """

    def find(self, labels: Mapping[str, str]) -> tuple[JsonObject, ...]:
        """Bindings of the things that an alert's labels name, by asking the platform; empty when none."""

    def check(self) -> ConnectionReport:
        """Whether the platform answers, and what can be told of it by looking; never raises, never changes anything."""

    def close(self) -> None:
        """Release connections. Services keep running."""


class Clock(Protocol):
    """The time; tests bring a virtual one."""

    def now(self) -> datetime:
        """Current time, aware, UTC."""


class Notifier(Protocol):
    """One way of telling people."""

    name: str

    def send(self, message: JsonObject) -> None:
        """Deliver one message. Raises OSError or ValueError when it was not accepted; the caller tries again."""


class DemoGround(Protocol):
    """Where the services of `uici demo` live, and how they are broken. Found by entry point in the group `uici.demos`.

    Each service has the versions 1.0 and 2.0; the second is healthy until its first order, which ends it with an error
    of its configuration.
    """

    platform: ClassVar[str]
    simulation: ClassVar[str]
    """What is simulated, by the name that people know; empty where everything is real."""
    opening: ClassVar[str]
    """How the services come to be, with `{count}` in it."""

    def __init__(self, folder: Path, services: Sequence[str]) -> None:
        """Get ready; everything that is kept lies in `folder`. Raises ImportError for a missing SDK."""

    def open(self) -> None:
        """Make what UICI cannot make by itself."""

    def connection(self) -> JsonObject:
        """The environment's `connection`."""

    def binding(self, service: str) -> JsonObject:
        """The binding of one service."""

    def healthy(self, service: str) -> bool:
        """Whether the service answers its clients."""

    def kill(self, service: str) -> None:
        """End the service as a crash would."""

    def hang(self, service: str) -> None:
        """Let the service live on without answering."""

    def order(self, service: str) -> None:
        """Use the service as its clients would."""

    def close(self) -> None:
        """Leave nothing running; also after an `open` that failed."""
