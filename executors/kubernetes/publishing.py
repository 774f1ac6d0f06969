"""How a call of this executor is published; importable without the SDK."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from executors.arguments import schemas_of
from executors.kubernetes.settings import KubernetesBinding
from executors.parameters import VARIABLE
from uici.model.base import Frozen
from uici.model.call import CallSpec, Risk

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


@dataclass(frozen=True)
class Declared:
    """A call whose arguments have no schema yet: `publish` makes those of several calls together."""

    spec: partial[CallSpec]
    arguments: type[Frozen]


def publish(calls: Iterable[Declared]) -> Mapping[str, Published]:
    """Calls by their names."""
    given = tuple(calls)
    schemas = schemas_of({one.arguments: None for one in given})
    specs = [(one.spec(arguments=schemas[one.arguments]), one.arguments) for one in given]
    return MappingProxyType({spec.name: Published(spec, arguments) for spec, arguments in specs})


def declared(
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
) -> Declared:
    """One call; what only reads is never provable."""
    spec = partial(
        CallSpec,
        name=name,
        summary=summary,
        returns=dict(returns),
        mutates=mutates,
        risk=risk,
        timeout_seconds=timeout,
        in_flight_seconds=in_flight,
        provable=provable and mutates,
        open=is_open,
    )
    return Declared(spec, arguments)
