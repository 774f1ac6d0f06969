"""A verb that is only YAML, on real servers: from the shipped file through the translation to the service."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.docker import DockerExecutor
from executors.local import LocalExecutor
from tests.contract.local_rig import make_call
from tests.real.docker import IMAGE, DockerEngine
from tests.waiting import until
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.condition import all_hold
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import Origin, Plan, PreparedStep, Step
from uici.model.site import Site, TargetSpec
from uici.ports import Executor, ExecutorContext
from uici.translation.selections import complete, operation_result
from uici.translation.translating import prepare

SHELL = "trap 'echo reloaded' HUP; trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
PYTHON = (
    "import signal, time\n"
    "signal.signal(signal.SIGHUP, lambda *_: print('reloaded', flush=True))\n"
    "print('ready', flush=True)\n"
    "while True: time.sleep(0.1)\n"
)
EXECUTORS = discover_executors()


def prepared(environment: str, operation: str, binding: JsonObject) -> PreparedStep:
    shipped: Site = load_site(None, executors=EXECUTORS)
    site = shipped.model_copy(update={"targets": {"web": TargetSpec(bindings={environment: binding})}})
    plan = Plan(
        environment=environment,
        steps=(Step(operation=operation, target="web"),),
        origin=Origin.HUMAN,
        reason="a test",
    )
    specs = {name: executor.call_specs for name, executor in EXECUTORS.items()}
    classify = {name: executor.classify for name, executor in EXECUTORS.items()}
    return prepare(plan, site, specs, classify, SelfIdentity(), SelfGuardLayers()).steps[0]


def perform(executor: Executor, step: PreparedStep) -> JsonObject:
    results: dict[str, Any] = {}
    for call in step.calls:
        specs = executor.call_specs[call.name]
        ready = complete(call, results, specs, executor.classify)
        deadline = time.monotonic() + (ready.poll.within_seconds if ready.poll is not None else 0)
        results[call.id] = executor.perform(ready)
        while ready.poll is not None and not all_hold(ready.poll.until, results[call.id]):
            if time.monotonic() >= deadline:
                raise CallError(FailureKind.PERMANENT, "not_yet", f"{call.name}: {ready.poll.until}")
            time.sleep(min(0.1, ready.poll.every_seconds))
            results[call.id] = executor.perform(ready)
    return operation_result(step, results)


def wait_for_line(executor: Executor, environment: str, binding: JsonObject, line: str) -> None:
    step = prepared(environment, "check_logs", binding)
    until(lambda: line in perform(executor, step)["lines"], f"the line {line}", lambda: str(perform(executor, step)))


@pytest.fixture
def docker_executor(docker_engine: DockerEngine) -> Iterator[DockerExecutor]:
    executor = DockerExecutor(
        ExecutorContext(environment="docker", settings={"base_url": docker_engine.url}, identity=SelfIdentity())
    )
    yield executor
    executor.close()


@pytest.fixture
def container(docker_engine: DockerEngine) -> Iterator[str]:
    client = docker_engine.client()
    host = client.create_host_config(network_mode="none")
    made = client.create_container(f"{IMAGE}:good", ["sh", "-c", SHELL], name="uici-reload", host_config=host)["Id"]
    client.start(made)
    yield str(made)
    client.remove_container(made, force=True)
    client.close()


def test_a_container_reloads_and_goes_on_running(docker_executor: DockerExecutor, container: str) -> None:
    binding = {"container": "uici-reload"}
    wait_for_line(docker_executor, "docker", binding, "ready")
    assert perform(docker_executor, prepared("docker", "reload_service", binding)) == {"signalled": container}
    wait_for_line(docker_executor, "docker", binding, "reloaded")
    status = perform(docker_executor, prepared("docker", "get_service_status", binding))
    assert (status["state"], status["instances"][0]["id"], status["restart_count"]) == ("running", container, 0)


def test_a_container_that_is_not_there_gets_no_signal(docker_executor: DockerExecutor) -> None:
    with pytest.raises(CallError, match="No such container"):
        perform(docker_executor, prepared("docker", "reload_service", {"container": "uici-not-there"}))


def test_a_program_reloads_and_goes_on_running(tmp_path: Path) -> None:
    binding = {"program": "reload", "command": [sys.executable, "-c", PYTHON], "stop_seconds": 1}
    executor = LocalExecutor(
        ExecutorContext(
            environment="local",
            settings={"directory": str(tmp_path / "s"), "settle_seconds": 0.1},
            identity=SelfIdentity(),
        )
    )
    try:
        perform(executor, prepared("local", "start_service", binding))
        wait_for_line(executor, "local", binding, "ready")
        before = perform(executor, prepared("local", "get_service_status", binding))
        signalled = perform(executor, prepared("local", "reload_service", binding))
        assert signalled == {"signalled": before["instances"][0]["id"]}
        wait_for_line(executor, "local", binding, "reloaded")
        after = perform(executor, prepared("local", "get_service_status", binding))
        assert after["instances"] == before["instances"]
    finally:
        executor.perform(make_call("supervisor.rpc", method="shutdown"))
        executor.close()
