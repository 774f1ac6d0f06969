"""The self-target guard's last layer, in every executor."""

from __future__ import annotations

import pytest

from tests.contract.driver import (
    CHANGES,
    DIAGNOSE,
    READS,
    Driver,
    acting_as,
    arguments_of,
    refusal,
    skip_impossible,
)
from tests.waiting import until
from uici.model.call import FailureKind


@pytest.mark.parametrize("name", [*CHANGES, "open"])
@pytest.mark.parametrize("by", ["name", "id"])
def test_self_is_refused(driver: Driver, name: str, by: str) -> None:
    rig = driver.rig
    skip_impossible(name, rig)
    if name == "rollback":
        driver.do("deploy", version=rig.version("bad"))
    identity = rig.self_by_name() if by == "name" else rig.self_by_id()
    guarded = acting_as(driver, identity, layer=True)
    former, count = rig.instances(), rig.mutations()
    name, arguments = rig.open_change() if name == "open" else (name, arguments_of(name, rig))
    error = refusal(lambda: guarded.do(name, **arguments))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
    assert rig.instances() == former
    assert rig.mutations() == count


@pytest.mark.parametrize("by", ["name", "id"])
def test_no_program_is_run_inside_of_self(driver: Driver, by: str) -> None:
    skip_impossible(DIAGNOSE, driver.rig)
    identity = driver.rig.self_by_name() if by == "name" else driver.rig.self_by_id()
    guarded = acting_as(driver, identity, layer=True)
    assert refusal(lambda: guarded.do(DIAGNOSE, diagnostic="greet")).code == "self_target"
    assert acting_as(driver, identity, layer=False).do(DIAGNOSE, diagnostic="greet")["exit_code"] == 3


def test_self_may_be_watched(driver: Driver) -> None:
    guarded = acting_as(driver, driver.rig.self_by_id(), layer=True)
    for name in READS:
        guarded.do(name)
    name, arguments = driver.rig.open_read()
    guarded.do(name, **arguments)


@pytest.mark.parametrize("name", ["restart", "open"])
@pytest.mark.parametrize("by", ["name", "id"])
def test_without_the_layer_it_would_act(driver: Driver, name: str, by: str) -> None:
    rig = driver.rig
    identity = rig.self_by_name() if by == "name" else rig.self_by_id()
    unguarded = acting_as(driver, identity, layer=False)
    former = rig.instances()
    name, arguments = rig.open_change() if name == "open" else (name, {})
    unguarded.do(name, **arguments)
    until(lambda: rig.instances() != former, "it acted")
