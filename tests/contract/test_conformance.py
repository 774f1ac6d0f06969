"""What every executor keeps to, on its real platform. A rig per platform; see tests/contract/rig.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.contract.rig import CANARY, Rig
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind, Happened, Risk
from uici.model.checkup import CheckState
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import Executor

READS = ("status", "health", "logs", "usage", "describe", "list", "snapshot")
DIAGNOSE = "diagnose"
BACKEND = "backend"
CHANGES = ("start", "stop", "restart", "scale", "configure", "deploy", "rollback", "reclaim", "set_backend")
OF_WHAT_IS_MISSING = ("status", "health", "list", "snapshot")
"""Reads that answer although there is no such service."""
STATES = {"running", "starting", "stopped", "exited", "failed", "paused", "restarting", "missing"}
HOSTILE = (
    "; touch {marker}",
    "$(touch {marker})",
    "`touch {marker}`",
    "| touch {marker} #",
    "a\ntouch {marker}",
    "a\r\n[program:evil]\r\ncommand=touch {marker}",
    "--privileged",
    "-v",
    "../../../../etc/passwd",
    "..",
    "a/b",
    "a?force=1&v=1",
    "a%2fb%(ENV_HOME)s",
    "{{{{ 7*7 }}}}",
    "${{parameters.x}}",
    "%s%n",
    "x" * 5000,
    "",
    "\x00",
    "nul\x00inside",
    "\u202eright-to-left",
    "\ud800",
)


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
            arguments = {"target": self.binding, **arguments}
        spec = self.executor.call_specs[full]
        mutates, risk = self.executor.classify(full, arguments)
        return Call(
            id="c1",
            name=full,
            arguments=arguments,
            mutates=mutates,
            risk=risk,
            timeout_seconds=spec.timeout_seconds,
            in_flight_seconds=spec.in_flight_seconds,
            provable=spec.provable,
        )

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


@pytest.fixture
def driver(rig: Rig) -> Iterator[Driver]:
    binding = rig.reset()
    executor = rig.executor()
    yield Driver(rig, executor, binding)
    executor.close()


def acting_as(driver: Driver, identity: SelfIdentity, *, layer: bool) -> Driver:
    layers = SelfGuardLayers(intake=False, planning=False, translation=False, executor=layer)
    return Driver(driver.rig, driver.rig.executor(identity, layers), driver.binding)


# --- what is published ----------------------------------------------------------------------------------------


def test_every_contracted_call_is_published(rig: Rig) -> None:
    specs = rig.executor().call_specs
    unpublished = {name for name, code in rig.cannot.items() if code == "unknown_call"}
    contracted = {*READS, DIAGNOSE, BACKEND, *CHANGES} - unpublished
    assert {f"{rig.prefix}.{name}" for name in contracted} <= set(specs)
    assert any(spec.open for spec in specs.values())
    for name, spec in specs.items():
        assert spec.name == name
        assert spec.summary
        assert spec.returns
        assert spec.timeout_seconds > 0
    for name in (*READS, DIAGNOSE, BACKEND):
        assert not specs[f"{rig.prefix}.{name}"].mutates
        assert specs[f"{rig.prefix}.{name}"].risk is Risk.LOW
    for name in possible(CHANGES, rig):
        assert specs[f"{rig.prefix}.{name}"].mutates
        assert specs[f"{rig.prefix}.{name}"].provable


def test_argument_schemas_are_closed_and_valid(rig: Rig) -> None:
    for spec in rig.executor().call_specs.values():
        Draft202012Validator.check_schema(spec.arguments)
        assert spec.arguments["type"] == "object"
        assert spec.arguments["additionalProperties"] is False
        if not spec.open:
            assert "target" in spec.arguments["required"]


def test_bindings_and_settings_are_closed(rig: Rig) -> None:
    executor = rig.executor()
    for model in (executor.binding_model, executor.settings_model):
        assert model.model_json_schema()["additionalProperties"] is False


def test_named_calls_are_classed_as_published(driver: Driver) -> None:
    for name, spec in driver.executor.call_specs.items():
        if not spec.open:
            assert driver.executor.classify(name, {}) == (spec.mutates, spec.risk)


def test_open_calls_are_classed_by_what_they_do(driver: Driver) -> None:
    name, arguments = driver.rig.open_read()
    assert driver.executor.classify(name, arguments) == (False, Risk.LOW)
    name, arguments = driver.rig.open_change()
    assert driver.executor.classify(name, arguments) == (True, Risk.HIGH)
    # What cannot be understood is taken for the worst.
    assert driver.executor.classify(name, {}) == (True, driver.executor.call_specs[name].risk)


def test_what_the_platform_cannot_do_is_refused_while_planning(driver: Driver) -> None:
    for name, code in driver.rig.cannot.items():
        if code:
            arguments = {"target": driver.binding, **arguments_of(name, driver.rig)}
            full = f"{driver.rig.prefix}.{name}"
            error = refusal(lambda full=full, given=arguments: driver.executor.classify(full, given))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert (error.kind, error.code) == (FailureKind.PERMANENT, code)


def test_unknown_call_is_refused(driver: Driver) -> None:
    error = refusal(lambda: driver.executor.classify("no.such.call", {}))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "unknown_call")


def test_import_loads_no_sdk(rig: Rig) -> None:
    program = (
        f"import sys, executors.{rig.platform} as e\n"
        "names = {name.split('.')[0] for name in sys.modules}\n"
        "sdks = names & {'docker', 'supervisor', 'kubernetes', 'oci', 'requests'}\n"
        "assert not sdks, sdks\n"
        "cls = [v for v in vars(e).values() if getattr(v, 'platform', None)][0]\n"
        "assert cls.call_specs and cls.settings_model.model_json_schema() and cls.binding_model.model_json_schema()\n"
        "sdks = {name.split('.')[0] for name in sys.modules} & {'docker', 'supervisor', 'kubernetes', 'oci'}\n"
        "assert not sdks, sdks\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- reading --------------------------------------------------------------------------------------------------


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
    driver.rig.crash()
    status = driver.do("status")
    assert status["state"] == driver.rig.crashed
    assert status["running"] == 0
    assert status["exit_code"] == 137
    assert status["instances"][0]["pid"] is None
    assert driver.do("health")["healthy"] is False


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


# --- looking at more -------------------------------------------------------------------------------------------


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
    driver.rig.crash()
    snapshot = driver.do("snapshot")
    assert snapshot["status"]["exit_code"] == 137
    assert snapshot["health"]["healthy"] is False
    assert set(snapshot["processes"]) == {"error"}
    assert snapshot["description"]["configuration"]["command"]


# --- beside the service -----------------------------------------------------------------------------------------


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


# --- changing -------------------------------------------------------------------------------------------------


def arguments_of(name: str, rig: Rig) -> JsonObject:
    arguments: dict[str, JsonObject] = {
        "scale": {"replicas": 2},
        "configure": {"environment": {"COLOUR": "red"}},
        "deploy": {"version": rig.version("bad")},
        "set_backend": {"state": "drain"},
        DIAGNOSE: {"diagnostic": "greet"},
    }
    return arguments.get(name, {})


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


# --- proofs ---------------------------------------------------------------------------------------------------


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
    driver.rig.crash()
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


# --- failures -------------------------------------------------------------------------------------------------


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


# --- the self-target guard's last layer -----------------------------------------------------------------------


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


# --- hostile text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_in_every_argument(driver: Driver, text: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    text = text.format(marker=marker)
    rig = driver.rig
    former = rig.instances()
    named = Driver(rig, driver.executor, rig.named(text))
    for name in possible((*READS, *CHANGES), rig):
        result = outcome(lambda name=name: named.do(name, **arguments_of(name, rig)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        if isinstance(result, CallError):
            assert result.kind is FailureKind.PERMANENT, (name, result.message)
            assert len(result.message) < 2000
        elif name in ("status", "health"):
            assert result["state"] == "missing"
        else:
            assert name in OF_WHAT_IS_MISSING
    for name, argument in ((DIAGNOSE, "diagnostic"), ("set_backend", "state"), ("list", "state")):
        given = {argument: text}
        assert refusal(lambda name=name, given=given: driver.do(name, **given)).kind is FailureKind.PERMANENT  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert refusal(lambda: driver.do("deploy", version=text)).kind is FailureKind.PERMANENT
    for environment in ({text: "x"}, {"HOSTILE": text}):
        result = outcome(lambda given=environment: driver.do("configure", environment=given))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        if isinstance(result, CallError):
            assert result.kind is FailureKind.PERMANENT, result.message
        else:
            assert rig.environment_now().items() >= environment.items()
    name, arguments = rig.open_read()
    for hostile in _with_text(arguments, text):
        result = outcome(lambda given=hostile: driver.do(name, **given))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert not isinstance(result, CallError) or result.kind is FailureKind.PERMANENT
    driver.executor.find({"name": text, "container": text, "program": text})
    # Where the configuration was taken, the instance that it replaced may have a moment left to end in.
    until(lambda: len(rig.instances()) == len(former), "no instance more or less than before")
    assert not marker.exists()
    assert not Path("executed").exists()


def _with_text(value: JsonObject, text: str) -> Iterator[JsonObject]:
    """`value` with each of its strings replaced in turn, lists included."""
    for key, item in value.items():
        if isinstance(item, str):
            yield {**value, key: text}
        elif isinstance(item, list):
            for position, part in enumerate(item):
                if isinstance(part, str):
                    yield {**value, key: [*item[:position], text, *item[position + 1 :]]}


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


# --- threads --------------------------------------------------------------------------------------------------


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
