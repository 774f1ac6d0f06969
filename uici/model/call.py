"""Calls: one API call of a platform, its arguments typed values and never a shell string."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.condition import Condition


class Risk(StrEnum):
    """How much harm an action can do when it is wrong. Ordered: low < medium < high < destructive."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    DESTRUCTIVE = "destructive"

    @property
    def rank(self) -> int:
        """Position in the order, for comparisons."""
        return _RANKS[self]


_RANKS = {risk: rank for rank, risk in enumerate(Risk)}


class CallSpec(Frozen):
    """What an executor publishes about one call; importable without the platform's SDK."""

    name: str
    summary: str
    arguments: JsonObject = Field(description="JSON Schema (2020-12) of the arguments, closed")
    returns: JsonObject = Field(default_factory=dict, description="field of the result -> what it means")
    mutates: bool
    risk: Risk
    provable: bool = Field(
        default=False, description="the executor can tell from the platform's state whether a sent call has happened"
    )
    open: bool = Field(
        default=False, description="reaches anything of the platform; `mutates` and `risk` are upper bounds"
    )
    timeout_seconds: float = Field(gt=0, description="longest wait for the answer")
    in_flight_seconds: float = Field(
        gt=0, description="longest time after sending in which the platform may still act although the client is gone"
    )


class Poll(Frozen):
    """A call that only reads is sent again until its result is as wanted, or time is up."""

    until: tuple[Condition, ...] = Field(min_length=1)
    within_seconds: float
    every_seconds: float


class Call(Frozen):
    """One call as it will be sent. `arguments` may hold selections until earlier calls have answered."""

    id: str = Field(description="unique within its step; later calls select from its result by this name")
    name: str
    arguments: JsonObject
    mutates: bool
    risk: Risk
    timeout_seconds: float
    in_flight_seconds: float
    provable: bool
    poll: Poll | None = None
    selects: tuple[JsonObject, ...] = Field(
        default=(), description="of each selected argument: which it is, from where, and of which kind it must be"
    )
    key: str = Field(
        default="",
        description="which sending of which run this is, the same for its repetitions; a platform may keep it",
    )


SELECTION_KEY = "$select"
"""An argument `{"$select": "calls.<id>.<path>"}` stands for a value that only an earlier call's result will give."""


class Happened(StrEnum):
    """What the platform's state says of a call that may or may not have been carried out."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class FailureKind(StrEnum):
    """An executor classifies a failure; only the run decides about retries, and what is to be undone."""

    TEMPORARY = "temporary"
    """Proved not carried out: nothing was changed, and the same call may succeed later."""
    PERMANENT = "permanent"
    """It has ended without success, and the same call will fail again. Most were refused before they changed anything;
    one that consists of several changes, or waits for the effect of one, may leave what it changed (`rollout_failed`,
    `drain_blocked`). So the run compares the state with the one before the step, and undoes a difference.
    """
    UNKNOWN = "unknown"
    """It may have been carried out, or still be under way: the platform's state has to tell."""


LEFT_TO_PEOPLE = frozenset({"gitops_owned"})
"""Codes of refusals that are about who decides: no other remedy is tried after one, people are told."""


class CallError(Exception):
    """A call failed. The message says what was wrong, where, and what to do; it never holds a secret."""

    def __init__(self, kind: FailureKind, code: str, message: str, *, detail: JsonValue = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        """Stable snake_case name, e.g. `container_not_found`, `docker_unreachable`, `self_target`."""
        self.message = message
        self.detail = detail
