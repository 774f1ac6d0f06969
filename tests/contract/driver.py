"""An executor in the hand of the conformance suite: its named calls by their short names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.calls import call_of
from tests.contract.rig import CANARY, Rig
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, Happened
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import Executor

READS = ("status", "health", "logs", "usage", "describe", "list", "snapshot")
DIAGNOSE = "diagnose"
BACKEND = "backend"
CHANGES = ("start", "stop", "restart", "scale", "configure", "deploy", "rollback", "reclaim", "set_backend")
OF_WHAT_IS_MISSING = ("status", "health", "list", "snapshot")
"""Reads that answer although there is no such service."""


def possible(names: tuple[str, ...], rig: Rig) -> list[str]:
    """Those of the calls that the platform can carry out for the rig's service."""
    return [name for name in names if name not in rig.cannot]


def skip_impossible(name: str, rig: Rig) -> None:
    """Skip what is about a call that the platform cannot carry out: that it is refused is tested once, for each."""
    if name in rig.cannot:
        pytest.skip(f"{rig.platform} cannot do {name}: {rig.cannot[name]}")


class Driver:
    """An executor, and its named calls by their short names."""

    def __init__(self, rig: Rig, executor: Executor, binding: JsonObject) -> None:
        self.rig = rig
        self.executor = executor
        self.binding = binding

    def call(self, name: str, /, **arguments: Any) -> Call:
        full = name if "." in name else f"{self.rig.prefix}.{name}"
        if "." not in name:
            arguments = {"target": self.binding, **self.rig.patience.get(name, {}), **arguments}
        return call_of(self.executor, full, arguments)

    def do(self, name: str, /, **arguments: Any) -> JsonObject:
        return self.executor.perform(self.call(name, **arguments))

    def proof(self, name: str, /, **arguments: Any) -> tuple[Callable[[], JsonObject], Callable[[], Happened]]:
        """Take the before-state now; return what performs the call and what proves it."""
        call = self.call(name, **arguments)
        before = json.loads(json.dumps(self.executor.before(call)))  # it is kept as JSON between the two
        return lambda: self.executor.perform(call), lambda: self.executor.happened(call, before)


def refusal(action: Callable[[], object]) -> CallError:
    with pytest.raises(CallError) as caught:
        action()
    error = caught.value
    assert error.code
    assert error.code == error.code.lower()
    assert " " not in error.code
    assert error.message
    assert CANARY not in error.message
    assert CANARY not in json.dumps(error.detail, default=str)
    assert "Traceback" not in error.message
    return error


def outcome(action: Callable[[], JsonObject]) -> JsonObject | CallError:
    """The result, or the failure as a value."""
    try:
        return action()
    except CallError as error:
        return error


def acting_as(driver: Driver, identity: SelfIdentity, *, layer: bool) -> Driver:
    layers = SelfGuardLayers(intake=False, planning=False, translation=False, executor=layer)
    return Driver(driver.rig, driver.rig.executor(identity, layers), driver.binding)


def arguments_of(name: str, rig: Rig) -> JsonObject:
    arguments: dict[str, JsonObject] = {
        "scale": {"replicas": 2},
        "configure": {"environment": {"COLOUR": "red"}},
        "deploy": {"version": rig.version("bad")},
        "set_backend": {"state": "drain"},
        DIAGNOSE: {"diagnostic": "greet"},
    }
    return arguments.get(name, {})
