"""How a call of this executor is published; importable without the SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from executors.kubernetes.settings import KubernetesBinding
from executors.parameters import VARIABLE
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, CallSpec, FailureKind, Risk

_IN_FLIGHT = 15.0


class OnTarget(Frozen):
    """Arguments of every named call."""

    target: KubernetesBinding = Field(description="the target's whole binding")


Variable = Annotated[str, Field(pattern=VARIABLE)]


@dataclass(frozen=True)
class Published:
    """A call: what is published of it, and the frozen type that its arguments are parsed into."""

    spec: CallSpec
    arguments: type[Frozen]


def published(
    name: str,
    summary: str,
    returns: Mapping[str, str],
    arguments: type[Frozen] = OnTarget,
    *,
    risk: Risk = Risk.LOW,
    mutates: bool = True,
    timeout: float = 150.0,
    in_flight: float = _IN_FLIGHT,
    provable: bool = True,
    is_open: bool = False,
) -> Published:
    """One call; what only reads is never provable."""
    spec = CallSpec(
        name=name,
        summary=summary,
        arguments=arguments.model_json_schema(),
        returns=dict(returns),
        mutates=mutates,
        risk=risk,
        timeout_seconds=timeout,
        in_flight_seconds=in_flight,
        provable=provable and mutates,
        open=is_open,
    )
    return Published(spec, arguments)


_Arguments = TypeVar("_Arguments", bound=Frozen)


def parsed(kind: type[_Arguments], name: str, arguments: JsonObject) -> _Arguments:
    """`arguments` as the frozen type `kind`. Raises CallError(PERMANENT, `bad_arguments`); values are not repeated."""
    try:
        # As JSON, which arguments are: strict, yet with lists where tuples are meant.
        return kind.model_validate_json(json.dumps(arguments), strict=True)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)[:10]
        )
        raise CallError(
            FailureKind.PERMANENT, "bad_arguments", f"{name}: the arguments do not fit: {problems}"
        ) from None
