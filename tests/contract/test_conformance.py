"""What every executor keeps to, on its real platform. A rig per platform; see tests/contract/rig.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.contract.rig import CANARY, Rig
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind, Happened, Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import Executor

READS = ("status", "health", "logs", "usage", "describe")
CHANGES = ("start", "stop", "restart", "scale", "configure", "deploy", "rollback")
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


class Driver:
    """An executor, and its named calls by their short names."""

    def __init__(self, rig: Rig, executor: Executor, binding: JsonObject) -> None:
        self.rig = rig
        self.executor = executor
        self.binding = binding

    def call(self, name: str, **arguments: Any) -> Call:
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

    def do(self, name: str, **arguments: Any) -> JsonObject:
        return self.executor.perform(self.call(name, **arguments))

    def proof(self, name: str, **arguments: Any) -> tuple[Callable[[], JsonObject], Callable[[], Happened]]:
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


def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


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
    assert {f"{rig.prefix}.{name}" for name in (*READS, *CHANGES)} <= set(specs)
    assert any(spec.open for spec in specs.values())
    for name, spec in specs.items():
        assert spec.name == name
        assert spec.summary
        assert spec.returns
        assert spec.timeout_seconds > 0
    for name in READS:
        assert not specs[f"{rig.prefix}.{name}"].mutates
        assert specs[f"{rig.prefix}.{name}"].risk is Risk.LOW
    for name in CHANGES:
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
    assert driver.executor.classify(name, {}) == (True, Risk.HIGH)


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
    assert usage["processes"] >= 1
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
    for change in CHANGES:
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
    for name in ("logs", "usage", "describe", *CHANGES):
        error = refusal(lambda name=name: missing.do(name, **arguments_of(name, driver.rig)))  # type: ignore[misc]
        assert error.kind is FailureKind.PERMANENT, name


def test_a_crash_is_seen(driver: Driver) -> None:
    driver.rig.crash()
    status = driver.do("status")
    assert status["state"] == "exited"
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


# --- changing -------------------------------------------------------------------------------------------------


def arguments_of(name: str, rig: Rig) -> JsonObject:
    arguments: dict[str, JsonObject] = {
        "scale": {"replicas": 2},
        "configure": {"environment": {"COLOUR": "red"}},
        "deploy": {"version": rig.version("bad")},
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
    arguments = arguments_of(name, driver.rig)
    if name == "start":
        driver.do("stop")
    if name == "rollback":
        driver.do("deploy", version=driver.rig.version("bad"))
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
            error = refusal(lambda name=name: driver.do(name, **arguments_of(name, driver.rig)))  # type: ignore[misc]
            assert error.kind is FailureKind.TEMPORARY, name
        open_name, arguments = driver.rig.open_change()
        assert refusal(lambda: driver.do(open_name, **arguments)).kind is FailureKind.TEMPORARY
        assert not driver.executor.check().ok
    until(lambda: driver.do("status")["state"] == "running", "answers again")
    assert driver.rig.instances() == former


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
    for name in (*READS, *CHANGES):
        result = outcome(lambda name=name: named.do(name, **arguments_of(name, rig)))  # type: ignore[misc]
        if isinstance(result, CallError):
            assert result.kind is FailureKind.PERMANENT, (name, result.message)
            assert len(result.message) < 2000
        else:
            assert name in {"status", "health"}
            assert result["state"] == "missing"
    assert refusal(lambda: driver.do("deploy", version=text)).kind is FailureKind.PERMANENT
    for environment in ({text: "x"}, {"HOSTILE": text}):
        result = outcome(lambda given=environment: driver.do("configure", environment=given))  # type: ignore[misc]
        if isinstance(result, CallError):
            assert result.kind is FailureKind.PERMANENT, result.message
        else:
            assert rig.environment_now().items() >= environment.items()
    name, arguments = rig.open_read()
    for hostile in _with_text(arguments, text):
        result = outcome(lambda given=hostile: driver.do(name, **given))  # type: ignore[misc]
        assert not isinstance(result, CallError) or result.kind is FailureKind.PERMANENT
    driver.executor.find({"name": text, "container": text, "program": text})
    assert len(rig.instances()) == len(former)
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
        refusal(lambda target=target: driver.do("restart", target=target))  # type: ignore[misc]
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
