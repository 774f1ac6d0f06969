"""Calls of the verbs that need no platform: some the run itself carries out, the others go to the monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from uici.model.base import JsonObject
from uici.model.call import CallError, CallSpec, FailureKind, Risk

WAIT = "wait"
ESCALATE = "escalate"
PROPOSE = "propose_change"
QUERY = "metrics.query"
SILENCE = "silence.make"
EXPIRE = "silence.expire"
TRAFFIC = "traffic.get"
SET_TRAFFIC = "traffic.set"

OF_THE_RUN = frozenset({WAIT, ESCALATE, PROPOSE})
"""The run itself carries these out: they pass time or tell people, and nothing outside is asked."""

READING = frozenset({QUERY, TRAFFIC})
"""What a diagnosis may use: these calls find something out."""

SHORTEST_SILENCE, LONGEST_SILENCE = 60, 86_400
"""Seconds. Shorter hides nothing for long enough to help; longer is a decision for people."""

_TEXT: JsonObject = {"type": "string", "minLength": 1, "maxLength": 4000}
_LABELS: JsonObject = {
    "type": "object",
    "maxProperties": 32,
    "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]{0,127}$"},
    "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 2048},
}


def _spec(
    name: str,
    summary: str,
    returns: dict[str, str],
    arguments: JsonObject,
    timeout: float,
    *,
    optional: tuple[str, ...] = (),
    changing: Risk | None = None,
    in_flight: float = 1.0,
) -> CallSpec:
    return CallSpec(
        name=name,
        summary=summary,
        arguments={
            "type": "object",
            "properties": arguments,
            "required": [argument for argument in arguments if argument not in optional],
            "additionalProperties": False,
        },
        returns=returns,
        mutates=changing is not None,
        risk=changing or Risk.LOW,
        provable=changing is not None,
        timeout_seconds=timeout,
        in_flight_seconds=in_flight,
    )


BUILTIN_SPECS: Mapping[str, CallSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _spec(
                WAIT,
                "Let time pass",
                {"waited_seconds": "how long it waited"},
                {"seconds": {"type": "number", "minimum": 0, "maximum": 86400}},
                86_400.0,
            ),
            _spec(
                ESCALATE,
                "Tell people",
                {"escalated": "true once the message is recorded for delivery"},
                {"message": _TEXT},
                30.0,
            ),
            _spec(
                PROPOSE,
                "Show people a change of a file as a patch; nobody but people applies it",
                {"patch": "the change as a unified diff"},
                {
                    "file": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_./-]{0,254}$"},
                    "rule": {"type": "string", "minLength": 1, "maxLength": 200},
                    "current": _TEXT,
                    "proposed": _TEXT,
                    "because": _TEXT,
                },
                30.0,
            ),
            _spec(
                QUERY,
                "Ask the environment's Prometheus an instant query",
                {
                    "name": "as given",
                    "value": "of the only series; null when there are more",
                    "series": "labels and value of each",
                    "count": "how many series there are",
                },
                {
                    "query": _TEXT,
                    "labels": _LABELS,
                    "name": {"type": "string", "maxLength": 64},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                },
                30.0,
                optional=("labels", "name", "limit"),
            ),
            _spec(
                SILENCE,
                "Silence alerts in the environment's Alertmanager for a time",
                {"silence": "its id", "ends_at": "when it ends by itself"},
                {
                    "matchers": {**_LABELS, "required": ["alertname"]},
                    "duration_seconds": {
                        "type": "integer",
                        "minimum": SHORTEST_SILENCE,
                        "maximum": LONGEST_SILENCE,
                    },
                    "comment": {"type": "string", "minLength": 1, "maxLength": 1000},
                },
                30.0,
                changing=Risk.HIGH,
                in_flight=5.0,
            ),
            _spec(
                EXPIRE,
                "End a silence that UICI made",
                {"silence": "its id", "changed": "whether it was in force"},
                {"silence": {"type": "string", "pattern": "^[A-Za-z0-9-]{8,64}$"}},
                30.0,
                changing=Risk.LOW,
                in_flight=5.0,
            ),
            _spec(
                TRAFFIC,
                "Ask how requests are split between main and canary",
                {
                    "weight": "the canary's share, from 0 to 1",
                    "measured_share": "what it was since the weight was set; null before any request",
                    "verdict": "PASS, FAIL or INCONCLUSIVE",
                    "reason": "what the gates that did not pass say",
                },
                {},
                30.0,
            ),
            _spec(
                SET_TRAFFIC,
                "Set the canary's share of the requests",
                {"weight": "the share in force", "changed": "whether it was another one before"},
                {
                    "weight": {"type": "number", "minimum": 0, "maximum": 1},
                    "because": {"type": "string", "minLength": 1, "maxLength": 900},
                },
                30.0,
                changing=Risk.LOW,
                in_flight=5.0,
            ),
        )
    }
)


def classify_builtin(name: str, arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether the call mutates, and its risk. Raises CallError(PERMANENT, `unknown_call`) for other names."""
    spec = BUILTIN_SPECS.get(name)
    if spec is None:
        choices = ", ".join(BUILTIN_SPECS)
        raise CallError(FailureKind.PERMANENT, "unknown_call", f"no built-in call {name!r:.100}; there are {choices}")
    return spec.mutates, spec.risk
