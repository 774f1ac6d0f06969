"""How every executor fails: of what kind, before anything is sent, and without a secret."""

from __future__ import annotations

import pytest

from tests.contract.driver import (
    Driver,
    arguments_of,
    refusal,
)
from tests.contract.rig import CANARY
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import FailureKind
from uici.model.checkup import CheckState


def test_an_unreachable_platform_is_temporary_and_nothing_is_sent(driver: Driver) -> None:
    former = driver.rig.instances()
    with driver.rig.unreachable():
        for name in ("status", "restart", "stop", "scale"):
            error = refusal(lambda name=name: driver.do(name, **arguments_of(name, driver.rig)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert error.kind is FailureKind.TEMPORARY, name
        open_name, arguments = driver.rig.open_change()
        assert refusal(lambda: driver.do(open_name, **arguments)).kind is FailureKind.TEMPORARY
        assert not driver.executor.check().ok
    until(lambda: driver.do("status")["state"] == "running", "answers again")
    assert driver.rig.instances() == former


def test_a_check_up_looks_and_changes_nothing(driver: Driver) -> None:
    count, former = driver.rig.mutations(), driver.rig.instances()
    report = driver.executor.check()
    assert report.ok
    assert report.version
    names = [check.name for check in report.checks]
    assert names
    assert len(set(names)) == len(names)
    assert {check.state for check in report.checks} == {CheckState.OK}, report.checks
    assert report.at is None or report.at.tzinfo is not None
    assert (driver.rig.mutations(), driver.rig.instances()) == (count, former)
    with driver.rig.unreachable():
        away = driver.executor.check()
    failed = [check for check in away.checks if check.state is CheckState.FAIL]
    assert not away.ok
    assert failed
    assert all(check.advice for check in failed)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("scale", {"replicas": "2"}),
        ("scale", {"replicas": -1}),
        ("scale", {}),
        ("scale", {"replicas": 2, "extra": 1}),
        ("logs", {"lines": 0}),
        ("logs", {"lines": "all"}),
        ("configure", {"environment": {"A": 1}}),
        ("configure", {"environment": {"A=B": "x"}}),
        ("configure", {"environment": {"A\nB": "x"}}),
        ("configure", {"environment": [CANARY]}),
        ("configure", {"environment": {"A": "x"}, "remove": "A"}),
        ("deploy", {"version": ["x"]}),
        ("deploy", {}),
        ("restart", {"force": True}),
        ("status", {"target": {"nothing": CANARY}}),
        ("status", {"target": {}}),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(driver: Driver, name: str, arguments: JsonObject) -> None:
    count = driver.rig.mutations()
    error = refusal(lambda: driver.do(name, **arguments))
    assert error.kind is FailureKind.PERMANENT
    assert driver.rig.mutations() == count


def test_secrets_stay_out_of_errors(driver: Driver) -> None:
    binding = driver.binding
    wrong = [
        {**binding, "no_such_field": CANARY},
        {**binding, "stop_seconds": CANARY},
        {**binding, "health": {"http": CANARY}},
    ]
    for target in wrong:
        refusal(lambda target=target: driver.do("restart", target=target))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    refusal(lambda: driver.do("configure", environment={"SECRET": CANARY, "B": 1}))
    refusal(lambda: driver.do("configure", environment={"SECRET": CANARY + "\x00"}))
    refusal(lambda: driver.do("deploy", version="no-such-version"))
    name, arguments = driver.rig.open_change()
    refusal(lambda: driver.do(name, **arguments, secret=CANARY))
