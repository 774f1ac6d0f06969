"""What every executor changes on its real platform, also from many threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.driver import (
    BACKEND,
    Driver,
    outcome,
    refusal,
    skip_impossible,
)
from tests.contract.rig import CANARY
from tests.waiting import until
from uici.model.call import CallError, FailureKind


def test_reclaim_removes_what_is_meant_and_nothing_else(driver: Driver) -> None:
    skip_impossible("reclaim", driver.rig)
    meant, former = driver.rig.litter(), driver.rig.instances()
    result = driver.do("reclaim")
    assert result["removed"] >= meant
    assert result["reclaimed_bytes"] > 0
    assert driver.rig.littered() == 0
    assert driver.rig.instances() == former
    assert driver.do("reclaim")["reclaimed_bytes"] == 0


def test_a_server_leaves_the_load_balancer_and_comes_back(driver: Driver) -> None:
    balancer = driver.rig.balancer()
    assert driver.do(BACKEND)["state"] == "ready"
    result = driver.do("set_backend", state="drain")
    assert (result["changed"], result["state"], result["previous_state"]) == (True, "drain", "ready")
    assert balancer.admin_state("a") & 0x08
    assert driver.do("set_backend", state="drain")["changed"] is False
    result = driver.do("set_backend", state="ready", weight=7)
    assert (result["changed"], result["weight"], result["previous_weight"]) == (True, 7, 1)
    assert driver.do(BACKEND)["weight"] == 7
    driver.do("set_backend", state="ready", weight=1)
    assert balancer.admin_state("a") == 0


def test_what_has_no_load_balancer_is_refused_while_planning(driver: Driver) -> None:
    binding = {name: value for name, value in driver.binding.items() if name != "backend"}
    for name in (BACKEND, "set_backend"):
        with pytest.raises(CallError, match="has no `backend` in its binding") as caught:
            driver.executor.classify(f"{driver.rig.prefix}.{name}", {"target": binding, "state": "drain"})
        assert caught.value.code == "no_backend"


def test_restart(driver: Driver) -> None:
    former = driver.rig.instances()
    result = driver.do("restart")
    assert result["changed"] is True
    now = driver.rig.instances()
    assert len(now) == 1
    assert set(now.values()).isdisjoint(former.values())
    assert set(result["instances"]) == set(now)


def test_stop_and_start(driver: Driver) -> None:
    assert driver.do("stop")["changed"] is True
    assert driver.rig.instances() == {}
    status = driver.do("status")
    assert status["state"] in {"stopped", "exited"}
    assert status["running"] == 0
    assert driver.do("stop")["changed"] is False
    assert driver.do("start")["changed"] is True
    assert len(driver.rig.instances()) == 1
    assert driver.do("start")["changed"] is False


def test_start_after_a_crash(driver: Driver) -> None:
    driver.rig.crash()
    driver.do("start")
    until(lambda: bool(driver.do("health")["healthy"]), "healthy after the start")


def test_scale_up_and_down(driver: Driver) -> None:
    first = driver.rig.instances()
    result = driver.do("scale", replicas=2)
    assert result["changed"] is True
    assert len(driver.rig.instances()) == 2
    assert first.items() <= driver.rig.instances().items()
    status = driver.do("status")
    assert status["desired"] == status["running"] == 2
    assert driver.do("scale", replicas=2)["changed"] is False
    driver.do("scale", replicas=1)
    assert len(driver.rig.instances()) == 1
    assert driver.do("status")["desired"] == 1


def test_configure_sets_and_removes_variables(driver: Driver) -> None:
    value = "a %(b)s; \"c\" 'd' $(e) `f`\n[program:g]\ntab\t\\ é 漢 ${h}"
    result = driver.do("configure", environment={"COLOUR": value, "NEW": "1"}, remove=[])
    assert result["changed"] is True
    environment = driver.rig.environment_now()
    assert environment["COLOUR"] == value
    assert environment["NEW"] == "1"
    assert driver.do("describe")["configuration"]["environment"]["COLOUR"] == value
    driver.do("configure", environment={}, remove=["NEW"])
    environment = driver.rig.environment_now()
    assert "NEW" not in environment
    assert environment["COLOUR"] == value
    assert environment["SECRET_CANARY"] == CANARY


def test_deploy_and_rollback(driver: Driver) -> None:
    rig = driver.rig
    result = driver.do("deploy", version=rig.version("bad"))
    assert result["changed"] is True
    assert rig.version_now() == "bad"
    described = driver.do("describe")
    assert described["deployed_at"]
    assert described["previous_version"]
    assert driver.do("rollback")["changed"] is True
    assert rig.version_now() == "good"
    until(lambda: bool(driver.do("health")["healthy"]), "healthy after the rollback")


def test_rollback_without_a_previous_version(driver: Driver) -> None:
    count = driver.rig.mutations()
    error = refusal(lambda: driver.do("rollback"))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "no_previous_version")
    assert driver.rig.mutations() == count


def test_deploy_of_an_unknown_version_leaves_the_service_alone(driver: Driver) -> None:
    former = driver.rig.instances()
    error = refusal(lambda: driver.do("deploy", version="no-such-version:0"))
    assert error.kind is FailureKind.PERMANENT
    assert driver.rig.instances() == former
    assert driver.rig.version_now() == "good"


def test_open_call_reads_and_changes(driver: Driver) -> None:
    name, arguments = driver.rig.open_read()
    assert driver.do(name, **arguments)
    name, arguments = driver.rig.open_change()
    driver.do(name, **arguments)
    until(lambda: driver.rig.instances() == {}, "stopped by the open call")


def test_reads_from_many_threads(driver: Driver) -> None:
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(lambda _: driver.do("status")["state"], range(40)))
    assert states == ["running"] * 40


def test_changes_from_many_threads_leave_one_healthy_service(driver: Driver) -> None:
    with ThreadPoolExecutor(4) as pool:
        names = ["restart", "restart", "start", "restart"]
        outcomes = list(pool.map(lambda name: outcome(lambda: driver.do(name)), names))
    failures = [one for one in outcomes if isinstance(one, CallError)]
    # Who comes second may be told so, but never that something unknown happened.
    assert not any(failure.kind is FailureKind.UNKNOWN for failure in failures)
    assert len(failures) < len(names)
    until(lambda: bool(driver.do("health")["healthy"]), "healthy in the end")
    assert len(driver.rig.instances()) == 1


def test_the_test_process_is_never_the_victim(driver: Driver) -> None:
    assert os.getpid() not in driver.rig.instances().values()
