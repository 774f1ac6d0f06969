"""A call of an executor, made of what it publishes, as the translation makes it of a plan's step."""

from __future__ import annotations

from collections.abc import Mapping

from uici.model.call import Call
from uici.ports import Executor


def call_of(executor: Executor | type[Executor], name: str, arguments: Mapping[str, object], key: str = "") -> Call:
    """The call `name` with these arguments. Raises as the executor's `classify` does."""
    spec = executor.call_specs[name]
    given = dict(arguments)
    mutates, risk = executor.classify(name, given)
    return Call(
        id="c1",
        name=name,
        arguments=given,
        mutates=mutates,
        risk=risk,
        timeout_seconds=spec.timeout_seconds,
        in_flight_seconds=spec.in_flight_seconds,
        provable=spec.provable,
        key=key,
    )
