"""Calls of the verbs that need no platform; the run itself carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from uici.model.base import JsonObject
from uici.model.call import CallError, CallSpec, FailureKind, Risk

WAIT = "wait"
ESCALATE = "escalate"


def _spec(name: str, summary: str, returns: dict[str, str], arguments: JsonObject, timeout: float) -> CallSpec:
    return CallSpec(
        name=name,
        summary=summary,
        arguments={
            "type": "object",
            "properties": arguments,
            "required": list(arguments),
            "additionalProperties": False,
        },
        returns=returns,
        mutates=False,
        risk=Risk.LOW,
        timeout_seconds=timeout,
        in_flight_seconds=1.0,
    )


BUILTIN_SPECS: Mapping[str, CallSpec] = MappingProxyType(
    {
        WAIT: _spec(
            WAIT,
            "Let time pass",
            {"waited_seconds": "how long it waited"},
            {"seconds": {"type": "number", "minimum": 0, "maximum": 86400}},
            86_400.0,
        ),
        ESCALATE: _spec(
            ESCALATE,
            "Tell people",
            {"escalated": "true once the message is recorded for delivery"},
            {"message": {"type": "string", "minLength": 1, "maxLength": 4000}},
            30.0,
        ),
    }
)


def classify_builtin(name: str, arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether the call mutates, and its risk. Raises CallError(PERMANENT, `unknown_call`) for other names."""
    spec = BUILTIN_SPECS.get(name)
    if spec is None:
        choices = ", ".join(BUILTIN_SPECS)
        raise CallError(FailureKind.PERMANENT, "unknown_call", f"no built-in call {name!r:.100}; there are {choices}")
    return spec.mutates, spec.risk
