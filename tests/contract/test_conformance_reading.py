"""What every executor reads on its real platform, and that reading changes nothing."""

from __future__ import annotations

import json

import pytest

from tests.contract.driver import (
    BACKEND,
    CHANGES,
    DIAGNOSE,
    READS,
    Driver,
    arguments_of,
    possible,
    refusal,
    skip_impossible,
)
from tests.contract.rig import CANARY
from tests.waiting import until
from uici.model.call import CallError, FailureKind


def test_status_of_a_running_service(driver: Driver) -> None:
    status = driver.do("status")
    assert set(status) >= {
        "state", "desired", "running", "instances", "exit_code", "oom_killed", "restart_count", "started_at",
        "version", "health",
    }  # fmt: skip
    assert status["state"] == "running"
    assert status["desired"] == status["running"] == 1
    assert status["oom_killed"] is False
    assert status["health"] in {"healthy", "unhealthy", "starting", "none"}
    assert status["started_at"].startswith("20")
    (instance,) = status["instances"]
    assert set(instance) >= {"id", "name", "state", "exit_code", "started_at", "pid"}
    if "pids" in driver.rig.cannot:
        assert ({instance["id"]}, instance["pid"]) == (set(driver.rig.instances()), None)
    else:
        assert {instance["id"]: instance["pid"]} == driver.rig.instances()
    json.dumps(status)


def test_health_of_a_running_service(driver: Driver) -> None:
    health = driver.do("health")
    assert health["healthy"] is True
    assert health["state"] == "running"
    assert health["checks"]
    for check in health["checks"]:
        assert set(check) == {"name", "ok", "detail"}
        assert check["ok"] is True


def test_logs_are_lines(driver: Driver) -> None:
    logs = driver.do("logs", lines=5)
    assert any("ready" in line for line in logs["lines"])
    assert len(logs["lines"]) <= 5
    assert isinstance(logs["truncated"], bool)
    assert driver.do("logs")["lines"]


def test_usage(driver: Driver) -> None:
    usage = driver.do("usage")
    assert usage["cpu_percent"] >= 0
    assert usage["memory_bytes"] > 0
    assert usage["processes"] is None if "processes" in driver.rig.cannot else usage["processes"] >= 1
    assert {"memory_limit_bytes", "memory_percent"} <= set(usage)


def test_describe(driver: Driver) -> None:
    described = driver.do("describe")
    configuration = described["configuration"]
    assert {"image", "version", "replicas", "cpus", "memory_bytes", "environment", "command"} <= set(configuration)
    assert configuration["replicas"] == 1
    assert configuration["environment"]["COLOUR"] == "blue"
    assert configuration["command"]
    assert {"previous_version", "deployed_at"} <= set(described)
    assert described["status"]["state"] == "running"


def test_reads_change_nothing(driver: Driver) -> None:
    count, instances = driver.rig.mutations(), driver.rig.instances()
    for name in READS:
        driver.do(name)
    name, arguments = driver.rig.open_read()
    driver.do(name, **arguments)
    driver.executor.find({"alertname": "X", "name": "nothing-of-this-name"})
    driver.executor.check()
    for name in possible((DIAGNOSE,), driver.rig):
        driver.do(name, diagnostic="greet")
    for change in possible(CHANGES, driver.rig):
        if change == "set_backend":
            continue  # asks the load balancer; see below
        driver.executor.before(driver.call(change, **arguments_of(change, driver.rig)))
    missing = Driver(driver.rig, driver.executor, driver.rig.named("no-such-thing"))
    missing.do("status")
    missing.do("health")
    assert driver.rig.mutations() == count
    assert driver.rig.instances() == instances


def test_a_missing_thing(driver: Driver) -> None:
    missing = Driver(driver.rig, driver.executor, driver.rig.named("no-such-thing"))
    status = missing.do("status")
    assert status["state"] == "missing"
    assert status["running"] == 0
    health = missing.do("health")
    assert health["healthy"] is False
    assert health["state"] == "missing"
    assert missing.do("list") == driver.do("list")
    snapshot = missing.do("snapshot")
    assert snapshot["status"]["state"] == "missing"
    assert "error" in snapshot["logs"]
    for name in possible(("logs", "usage", "describe", DIAGNOSE, BACKEND, *CHANGES), driver.rig):
        error = refusal(lambda name=name: missing.do(name, **arguments_of(name, driver.rig)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert error.kind is FailureKind.PERMANENT, name


def test_a_crash_is_seen(driver: Driver) -> None:
    driver.rig.crash(lasting=True)
    status = driver.do("status")
    assert status["state"] == driver.rig.crashed
    assert status["running"] == 0
    assert status["exit_code"] == 137
    assert status["instances"][0]["pid"] is None
    assert driver.do("health")["healthy"] is False
    assert driver.do("usage")["memory_bytes"] == 0


def test_a_hang_is_unhealthy_and_cured_by_a_restart(driver: Driver) -> None:
    former = driver.rig.instances()
    driver.rig.hang()
    health = driver.do("health")
    assert health["healthy"] is False
    assert health["state"] == "running"
    driver.do("restart")
    until(lambda: bool(driver.do("health")["healthy"]), "healthy after the restart")
    assert set(driver.rig.instances().values()).isdisjoint(former.values())


def test_find_names_the_service_or_nothing(driver: Driver) -> None:
    assert driver.executor.find({"alertname": "Anything"}) == ()
    assert driver.executor.find({"name": "; touch /tmp/x", "pod": "../.."}) == ()


def test_check_says_that_the_platform_answers(driver: Driver) -> None:
    report = driver.executor.check()
    assert report.ok
    assert report.version


def test_list_names_the_service_and_tells_nothing_secret(driver: Driver) -> None:
    listed = driver.do("list")
    assert set(listed) == {"services", "total", "running", "truncated"}
    for one in listed["services"]:
        assert set(one) == {"id", "name", "state", "image", "version"}
    assert [one["state"] for one in listed["services"] if "victim" in one["name"]] == ["running"]
    assert listed["total"] == len(listed["services"]) >= listed["running"] >= 1
    assert CANARY not in json.dumps(listed)
    assert {one["state"] for one in driver.do("list", state="running")["services"]} == {"running"}
    few = driver.do("list", limit=1)
    assert (len(few["services"]), few["truncated"]) == (1, listed["total"] > 1)


def test_a_diagnostic_is_a_result_whatever_its_exit_code(driver: Driver) -> None:
    skip_impossible(DIAGNOSE, driver.rig)
    result = driver.do(DIAGNOSE, diagnostic="greet")
    assert set(result) == {"diagnostic", "instance", "exit_code", "lines", "truncated", "timed_out"}
    assert (result["exit_code"], result["lines"]) == (3, ["hello"])
    assert not result["truncated"]
    assert not result["timed_out"]
    error = refusal(lambda: driver.do(DIAGNOSE, diagnostic="greet", must_succeed=True))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "diagnostic_failed")
    assert "hello" in error.message


def test_only_what_the_binding_allows_is_run(driver: Driver) -> None:
    skip_impossible(DIAGNOSE, driver.rig)
    for name in ("gret", "greet; id", "greet --help", "", "/bin/sh"):
        error = refusal(lambda name=name: driver.do(DIAGNOSE, diagnostic=name))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert (error.kind, error.code) == (FailureKind.PERMANENT, "unknown_diagnostic")
        assert "greet, env, endless, stuck" in error.message
    with pytest.raises(CallError, match="did you mean 'greet'"):
        driver.executor.classify(f"{driver.rig.prefix}.diagnose", {"target": driver.binding, "diagnostic": "gret"})


@pytest.mark.parametrize("diagnostic", ["stuck", "endless"])
def test_a_diagnostic_is_bounded_and_surely_ended(driver: Driver, diagnostic: str) -> None:
    skip_impossible(DIAGNOSE, driver.rig)
    result = driver.do(DIAGNOSE, diagnostic=diagnostic)
    assert result["exit_code"] is None
    assert result["truncated"] is (diagnostic == "endless")
    assert result["timed_out"] is (diagnostic == "stuck")
    assert result["lines"][0] == ("begun" if diagnostic == "stuck" else "0123456789")
    assert len(result["lines"]) <= 1000
    assert driver.rig.left_by(diagnostic) == []
    assert driver.do("health")["healthy"]


def test_a_snapshot_has_every_section_and_no_secret(driver: Driver) -> None:
    snapshot = driver.do("snapshot", lines=5)
    assert set(snapshot) == {
        "status", "health", "logs", "description", "resources", "processes", "details", "taken_at", "truncated",
    }  # fmt: skip
    assert snapshot["status"]["state"] == "running"
    assert snapshot["health"]["healthy"] is True
    assert any("ready" in line for line in snapshot["logs"]["lines"])
    assert snapshot["description"]["configuration"]["environment"]["COLOUR"] == "blue"
    if "processes" in driver.rig.cannot:
        assert set(snapshot["processes"]) == {"error"}
    else:
        assert snapshot["resources"]["processes"] >= 1
        assert all("command" in one for one in snapshot["processes"])
    assert CANARY not in json.dumps(snapshot)
    assert snapshot["truncated"] is False


def test_a_snapshot_of_what_has_crashed_says_what_it_could_not_see(driver: Driver) -> None:
    driver.rig.crash(lasting=True)
    snapshot = driver.do("snapshot")
    assert snapshot["status"]["exit_code"] == 137
    assert snapshot["health"]["healthy"] is False
    assert set(snapshot["processes"]) == {"error"}
    assert snapshot["description"]["configuration"]["command"]
