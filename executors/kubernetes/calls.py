"""The calls that this executor publishes; importable without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from executors.arguments import call_named
from executors.kubernetes import lifecycle_calls, node_calls, open_calls, read_calls, rolling_calls, upkeep_calls
from executors.kubernetes.possible import refuse_impossible
from executors.kubernetes.publishing import Published
from uici.model.base import JsonObject
from uici.model.call import CallSpec, Risk

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        **read_calls.PUBLISHED,
        **lifecycle_calls.PUBLISHED,
        **rolling_calls.PUBLISHED,
        **upkeep_calls.PUBLISHED,
        **node_calls.PUBLISHED,
        **open_calls.PUBLISHED,
    }
)
CALL_SPECS: Mapping[str, CallSpec] = MappingProxyType({name: one.spec for name, one in PUBLISHED.items()})


def published_of(name: str) -> Published:
    """The call by its name. Raises CallError(PERMANENT, `unknown_call`)."""
    return call_named("kubernetes", PUBLISHED, name)


def classify(name: str, arguments: JsonObject) -> tuple[bool, Risk]:
    """Whether the call mutates, and its risk; an open call by its verb.

    Raises CallError as `published_of`, and for what the target's binding says cannot work.
    """
    spec = published_of(name).spec
    if spec.open:
        return open_calls.classify(arguments)
    refuse_impossible(name, arguments)
    return spec.mutates, spec.risk
