"""Operations (universal verbs) and their translations, as the catalogue's YAML defines them."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import Risk
from uici.model.condition import Condition, plain_selection

NAME = r"^[a-z][a-z0-9_]{0,62}$"
REFERENCE = re.compile(r"^\$\{([a-z_]+(?:\.[A-Za-z0-9_-]+)+)\}$")
"""A reference is the whole value, `${parameters.replicas}`, and keeps its type; nothing is pasted into text."""


class Before(Frozen):
    """State worth keeping before a change: fields of a read-only operation's result, under names of our own."""

    read: str | None = Field(
        default=None,
        pattern=NAME,
        description="a read-only operation on the same target; without it each translation has its own `before`",
    )
    parameters: JsonObject = Field(default_factory=dict)
    keep: dict[str, str] = Field(min_length=1, description="name -> what of the result")

    @field_validator("keep")
    @classmethod
    def _selects(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: plain_selection(path) for name, path in value.items()}


class Inverse(Frozen):
    """How to restore the configuration that `before` kept."""

    operation: str = Field(pattern=NAME)
    parameters: JsonObject = Field(default_factory=dict, description="may reference ${before.<name>}")


class Verification(Frozen):
    """How one operation itself is proved to have had its effect, at once after its calls."""

    read: str | None = Field(
        default=None,
        pattern=NAME,
        description="a read-only operation on the same target; without it each translation has its own `verification`",
    )
    parameters: JsonObject = Field(default_factory=dict)
    expect: tuple[Condition, ...] = Field(min_length=1)
    within_seconds: float = Field(default=30.0, gt=0, le=3600)


class CallTemplate(Frozen):
    """One call of a translation; arguments reference ${parameters.x}, ${target.x} (the binding), ${calls.<id>.path}.

    A call that only reads may be repeated `until` its result is as wanted.
    """

    id: str | None = Field(default=None, pattern=NAME)
    call: str
    arguments: JsonObject = Field(default_factory=dict)
    risk: Risk | None = Field(default=None, description="may raise the call's own risk, never lower it")
    until: tuple[Condition, ...] = Field(
        default=(), description="a call that only reads is sent again until all these hold for its result"
    )
    within_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="with `until`: the step has failed when they do not hold by then"
    )
    every_seconds: float | None = Field(
        default=None, ge=0.1, le=300, description="with `until`: the pause between two looks; 1 unless it is given"
    )

    @model_validator(mode="after")
    def _until_when(self) -> CallTemplate:
        if bool(self.until) is not (self.within_seconds is not None):
            raise ValueError("until and within_seconds belong together: what to wait for, and for how long at most")
        if self.every_seconds is not None and not self.until:
            raise ValueError("every_seconds says how often to look until something holds; there is no until")
        return self


class Reading(Frozen):
    """Calls that only read, and what of their results is meant."""

    calls: tuple[CallTemplate, ...] = Field(min_length=1)
    result: dict[str, JsonValue] | None = Field(
        default=None, description="field -> value or reference; without it the last call's result"
    )


class Translation(Frozen):
    """How one platform performs an operation; or why it cannot."""

    calls: tuple[CallTemplate, ...] = ()
    result: dict[str, JsonValue] | None = Field(
        default=None, description="field -> value or reference; without it the last call's result is the operation's"
    )
    before: Reading | None = Field(
        default=None, description="reads what the operation's `before` keeps, where that names no operation"
    )
    verification: Reading | None = Field(
        default=None, description="reads what the operation's `verification` expects, where that names no operation"
    )
    unsupported: str | None = Field(default=None, min_length=10, description="why this platform has none")

    @model_validator(mode="after")
    def _calls_or_reason(self) -> Translation:
        if bool(self.calls) == bool(self.unsupported):
            raise ValueError("give either calls or the reason why this platform is unsupported")
        return self


class OperationBody(Frozen):
    """The part of an operation that people write under its name."""

    summary: str = Field(min_length=5)
    risk: Risk
    mutates: bool
    parameters: JsonObject = Field(default_factory=dict, description="JSON Schema of each parameter, by name")
    required: tuple[str, ...] = ()
    returns: dict[str, str] = Field(default_factory=dict, description="field of the result -> what it means")
    preconditions: tuple[Condition, ...] = Field(
        default=(),
        description="over get_service_status; checked again just before execution; an approval is void without them",
    )
    before: Before | None = None
    inverse: Inverse | None = None
    reversible: bool = True
    irreversible_because: str | None = Field(default=None, min_length=10)
    verification: Verification | None = None
    health_gate: bool = Field(
        default=False,
        description="the target must become and stay healthy afterwards, also when a person asked; else it is undone",
    )
    keep_result: bool = Field(
        default=False, description="what it returns is kept with the incident, masked and bounded"
    )

    @model_validator(mode="after")
    def _consistent(self) -> OperationBody:
        if not self.mutates:
            if self.inverse or self.before:
                raise ValueError("a read-only operation has nothing to undo; drop before and inverse")
            return self
        if self.reversible and self.inverse is None:
            raise ValueError("a mutating operation needs an inverse, or reversible: false with irreversible_because")
        if not self.reversible and (self.inverse is not None or self.irreversible_because is None):
            raise ValueError("reversible: false needs irreversible_because and no inverse")
        if self.inverse is not None and self.before is None:
            raise ValueError("an inverse needs before: the state it restores")
        return self


class Operation(OperationBody):
    """An operation as the catalogue hands it out: named, with its translations and its digest."""

    name: str = Field(pattern=NAME)
    translations: dict[str, Translation] = Field(default_factory=dict, description="platform -> translation")
    source: str = Field(description="file:line where it is defined")

    @property
    def parameters_schema(self) -> JsonObject:
        """The closed JSON Schema that a step's parameters must satisfy."""
        return {
            "type": "object",
            "properties": self.parameters,
            "required": list(self.required),
            "additionalProperties": False,
        }


BUILTIN = "builtin"
"""The translation key of verbs that need no platform (`wait`, `escalate_to_human`)."""
