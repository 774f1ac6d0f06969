"""Operations (universal verbs) and their translations, as the catalogue's YAML defines them."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import Risk
from uici.model.condition import Condition

NAME = r"^[a-z][a-z0-9_]{0,62}$"
REFERENCE = re.compile(r"^\$\{([a-z_]+(?:\.[A-Za-z0-9_-]+)+)\}$")
"""A reference is the whole value, `${parameters.replicas}`, and keeps its type; nothing is pasted into text."""


class Before(Frozen):
    """State worth keeping before a change: fields of a read-only operation's result, under names of our own."""

    read: str = Field(pattern=NAME, description="a read-only operation on the same target")
    parameters: JsonObject = Field(default_factory=dict)
    keep: dict[str, str] = Field(min_length=1, description="name -> dotted path in the result")


class Inverse(Frozen):
    """How to restore the configuration that `before` kept."""

    operation: str = Field(pattern=NAME)
    parameters: JsonObject = Field(default_factory=dict, description="may reference ${before.<name>}")


class Verification(Frozen):
    """How one operation itself is proved to have had its effect, at once after its calls."""

    read: str = Field(pattern=NAME, description="a read-only operation on the same target")
    parameters: JsonObject = Field(default_factory=dict)
    expect: tuple[Condition, ...] = Field(min_length=1)
    within_seconds: float = Field(default=30.0, gt=0, le=3600)


class CallTemplate(Frozen):
    """One call of a translation; arguments reference ${parameters.x}, ${target.x} (the binding), ${calls.<id>.path}."""

    id: str | None = Field(default=None, pattern=NAME)
    call: str
    arguments: JsonObject = Field(default_factory=dict)
    risk: Risk | None = Field(default=None, description="may raise the call's own risk, never lower it")


class Translation(Frozen):
    """How one platform performs an operation; or why it cannot."""

    calls: tuple[CallTemplate, ...] = ()
    result: dict[str, JsonValue] | None = Field(
        default=None, description="field -> value or reference; without it the last call's result is the operation's"
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
