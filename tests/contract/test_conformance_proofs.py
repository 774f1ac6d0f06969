"""What every executor tells of a change whose answer was lost."""

from __future__ import annotations

import pytest

from tests.contract.driver import (
    CHANGES,
    Driver,
    arguments_of,
    skip_impossible,
)
from uici.model.call import Happened


@pytest.mark.parametrize("name", CHANGES)
def test_proof_of_a_change(driver: Driver, name: str) -> None:
    skip_impossible(name, driver.rig)
    arguments = arguments_of(name, driver.rig)
    if name == "start":
        driver.do("stop")
    if name == "rollback":
        driver.do("deploy", version=driver.rig.version("bad"))
    if name == "reclaim":
        driver.rig.litter()
    if name == "set_backend":
        driver.rig.balancer()
    perform, happened = driver.proof(name, **arguments)
    assert happened() is Happened.NO
    perform()
    assert happened() is Happened.YES


def test_a_crash_is_no_proof_of_a_restart(driver: Driver) -> None:
    _, happened = driver.proof("restart")
    driver.rig.crash(lasting=True)
    assert happened() is not Happened.YES


def test_a_restart_is_no_proof_of_a_stop(driver: Driver) -> None:
    _, happened = driver.proof("stop")
    driver.do("restart")
    assert happened() is not Happened.YES


def test_open_calls_prove_nothing(driver: Driver) -> None:
    name, arguments = driver.rig.open_change()
    call = driver.call(name, **arguments)
    assert driver.executor.before(call) == {}
    assert driver.executor.happened(call, {}) is Happened.UNKNOWN


def test_reads_have_no_before_state(driver: Driver) -> None:
    assert driver.executor.before(driver.call("status")) == {}
