"""The executor `docker` on a real engine: what it sees, what it changes, and with how few requests."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.docker_ground import COMPOSE, Ground, ground_of
from tests.real.components import free_port
from tests.real.docker import DockerEngine
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import FailureKind, Happened

pytestmark = pytest.mark.component("docker")
WEB: JsonObject = {"container": "uici-t-web", "stop_seconds": 1}
SERVICE: JsonObject = {"service": "web", "project": "uici-t", "stop_seconds": 1}


@pytest.fixture
def ground(docker_engine: DockerEngine) -> Iterator[Ground]:
    yield from ground_of(docker_engine)


def requests_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """`POST /v1.41/...` of every request sent, as the HTTP library logs it."""
    texts = [record.getMessage() for record in caplog.records if record.name == "urllib3.connectionpool"]
    return [text.split('"')[1].rsplit(" ", 1)[0] for text in texts if '"' in text]


def pool(ground: Ground, numbers: tuple[int, ...] = (1,)) -> None:
    for number in numbers:
        labels = {**COMPOSE, "com.docker.compose.container-number": str(number)}
        ground.run(f"uici-t-web-{number}", labels=labels)


# --- few requests ---------------------------------------------------------------------------------------------


def test_status_is_one_request_and_a_restart_one_more(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    container = ground.run("uici-t-web")
    ground.executor.check()
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    ground.do("container.status", WEB)
    assert requests_in(caplog) == ["GET /v1.41/containers/uici-t-web/json"]
    ground.before("container.restart", WEB)
    ground.actions()
    caplog.clear()
    ground.do("container.restart", WEB)
    assert requests_in(caplog) == [f"POST /v1.41/containers/{container}/restart?t=1"]
    assert [action for action, _ in ground.actions()].count("restart") == 1


def test_usage_does_not_wait_for_the_engines_own_second(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    ground.run("uici-t-web", command=["sh", "-c", "while :; do :; done"], host={"mem_limit": "64m"})
    ground.executor.check()
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    usage = ground.do("container.usage", WEB)
    sent = [request for request in requests_in(caplog) if "/stats" in request]
    assert len(sent) == 2
    assert all("one-shot=1" in request and "stream=0" in request for request in sent)
    assert usage["cpu_percent"] > 5
    time.sleep(1.1)  # the engine's collector rests for a second between two looks
    caplog.clear()
    assert ground.do("container.usage", WEB)["cpu_percent"] > 5
    assert len([request for request in requests_in(caplog) if "/stats" in request]) == 1
    assert usage["memory_limit_bytes"] == 64 * 1024 * 1024
    assert 0 < usage["memory_percent"] < 100


def test_usage_of_what_has_no_limit_or_does_not_run(ground: Ground) -> None:
    ground.run("uici-t-web")
    assert ground.do("container.usage", WEB)["memory_limit_bytes"] is None
    ground.client.stop("uici-t-web", timeout=1)
    usage = ground.do("container.usage", WEB)
    assert (usage["cpu_percent"], usage["memory_bytes"], usage["processes"]) == (0, 0, 0)


# --- what state means -----------------------------------------------------------------------------------------


def test_stopped_on_request_and_ended_by_itself_are_told_apart(ground: Ground) -> None:
    ground.run("uici-t-web")
    ground.client.stop("uici-t-web", timeout=1)
    assert ground.do("container.status", WEB)["state"] == "stopped"
    ground.client.start("uici-t-web")
    os.kill(ground.inspect("uici-t-web")["State"]["Pid"], 9)
    until(lambda: not ground.inspect("uici-t-web")["State"]["Running"], "it has ended")
    status = ground.do("container.status", WEB)
    assert (status["state"], status["exit_code"], status["oom_killed"]) == ("exited", 137, False)


def test_states_that_are_not_running(ground: Ground) -> None:
    ground.run("uici-t-web", command=["false"], host={"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 1}})
    until(lambda: ground.do("container.status", WEB)["state"] == "failed", "the engine gave up")
    assert ground.do("container.status", WEB)["restart_count"] == 1
    ground.run("uici-t-paused")
    ground.client.pause("uici-t-paused")
    assert ground.do("container.status", {"container": "uici-t-paused"})["state"] == "paused"
    ground.client.unpause("uici-t-paused")
    broken = ground.run("uici-t-broken", start=False, command=["/no/such/program"])
    with pytest.raises(Exception, match="no such file"):
        ground.client.start(broken)
    assert ground.do("container.status", {"container": "uici-t-broken"})["state"] == "failed"


def test_docker_health_check_decides_health(ground: Ground) -> None:
    check = {"test": ["CMD", "sh", "-c", "echo looked; test -e /tmp/well"], "interval": 100_000_000, "retries": 1}
    ground.run("uici-t-web", healthcheck=check)
    until(lambda: ground.do("container.status", WEB)["health"] == "unhealthy", "unhealthy")
    health = ground.do("container.health", WEB)
    assert health["healthy"] is False
    assert "looked" in health["checks"][-1]["detail"]
    assert ground.do("container.exec", WEB, argv=["touch", "/tmp/well"])["exit_code"] == 0
    until(lambda: bool(ground.do("container.health", WEB)["healthy"]), "healthy")


def test_a_name_is_never_taken_for_the_beginning_of_an_id(ground: Ground) -> None:
    container = ground.run("uici-t-web")
    assert ground.do("container.status", {"container": container[:12]})["state"] == "running"
    assert ground.do("container.status", {"container": container[:6]})["state"] == "missing"
    assert ground.fails("container.restart", {"container": container[:6]}).code == "container_not_found"


def test_logs_merge_both_outputs_and_know_of_more(ground: Ground) -> None:
    script = "for n in 1 2 3 4 5; do echo out$n; echo err$n >&2; sleep 0.1; done; printf '%09000d\\n' 0; sleep 60"
    ground.run("uici-t-web", command=["sh", "-c", script])
    until(lambda: len(ground.do("container.logs", WEB)["lines"]) == 11, "all lines")
    whole = ground.do("container.logs", WEB)
    assert whole["truncated"] is False
    assert set(whole["lines"][:2]) == {"out1", "err1"}
    assert set(whole["lines"][8:10]) == {"out5", "err5"}
    assert whole["lines"][10] == "0" * 4096
    assert ground.do("container.logs", WEB, lines=2)["truncated"] is True


def test_logs_of_a_terminal_and_of_a_driver_without_reading(ground: Ground) -> None:
    ground.run("uici-t-web", tty=True)
    until(lambda: "ready" in ground.do("container.logs", WEB)["lines"], "the terminal's output")
    ground.run("uici-t-silent", host={"log_config": {"type": "none"}})
    assert ground.fails("container.logs", {"container": "uici-t-silent"}).code == "logs_not_readable"


# --- several containers ---------------------------------------------------------------------------------------


def test_a_service_is_acted_on_as_a_whole(ground: Ground) -> None:
    pool(ground, (1, 2))
    before = ground.before("container.restart", SERVICE)
    ground.actions()
    assert len(ground.do("container.restart", SERVICE)["instances"]) == 2
    assert sorted(name for action, name in ground.actions() if action == "restart") == ["uici-t-web-1", "uici-t-web-2"]
    assert ground.happened("container.restart", before, SERVICE) is Happened.YES
    ground.client.stop("uici-t-web-2", timeout=1)
    status = ground.do("container.status", SERVICE)
    assert (status["state"], status["desired"], status["running"]) == ("stopped", 2, 1)


def test_half_a_restart_is_unknown(ground: Ground) -> None:
    pool(ground, (1, 2))
    before = ground.before("container.restart", SERVICE)
    ground.client.restart("uici-t-web-1", timeout=1)
    assert ground.happened("container.restart", before, SERVICE) is Happened.UNKNOWN


def test_a_service_of_several_projects_is_ambiguous(ground: Ground) -> None:
    pool(ground)
    ground.run("uici-t-other", labels={**COMPOSE, "com.docker.compose.project": "other"})
    error = ground.fails("container.restart", {"service": "web"})
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "ambiguous_service")
    assert "other, uici-t" in error.message


def test_scale_numbers_like_compose_and_removes_the_newest(ground: Ground) -> None:
    pool(ground, (1, 3))
    result = ground.do("container.scale", SERVICE, replicas=4)
    assert (result["replicas"], result["previous_replicas"]) == (4, 2)
    assert ground.names() == {f"uici-t-web-{number}" for number in (1, 2, 3, 4)}
    assert ground.inspect("uici-t-web-2")["Config"]["Labels"]["com.docker.compose.container-number"] == "2"
    ground.do("container.scale", SERVICE, replicas=2)
    assert ground.names() == {"uici-t-web-1", "uici-t-web-3"}


def test_scale_says_why_it_cannot(ground: Ground) -> None:
    ground.run("uici-t-web")
    assert ground.fails("container.scale", WEB, replicas=2).code == "not_scalable"
    ground.client.create_network("uici-t-net")
    host = {"network_mode": "uici-t-net", "port_bindings": {8080: ("127.0.0.1", free_port())}}
    ground.run("uici-t-web-1", labels=COMPOSE, ports=[8080], host=host)
    assert ground.fails("container.scale", SERVICE, replicas=2).code == "fixed_host_port"
    assert ground.names() == {"uici-t-web", "uici-t-web-1"}


def test_labels_bind_too(ground: Ground) -> None:
    ground.run("uici-t-a", labels={"tier": "front", "app": "x"})
    ground.run("uici-t-b", labels={"tier": "front", "app": "y"})
    assert ground.do("container.status", {"labels": {"tier": "front"}})["running"] == 2
    assert ground.do("container.status", {"labels": {"tier": "front", "app": "y"}})["running"] == 1


# --- limits ---------------------------------------------------------------------------------------------------


def test_update_changes_limits_and_lifts_them(ground: Ground) -> None:
    ground.run("uici-t-web")
    started = ground.inspect("uici-t-web")["State"]["StartedAt"]
    before = ground.before("container.update", WEB, cpus=0.5, memory_bytes=67_108_864)
    assert ground.happened("container.update", before, WEB, cpus=0.5, memory_bytes=67_108_864) is Happened.NO
    assert ground.do("container.update", WEB, cpus=0.5, memory_bytes=67_108_864)["changed"] is True
    assert ground.happened("container.update", before, WEB, cpus=0.5, memory_bytes=67_108_864) is Happened.YES
    assert ground.do("container.update", WEB, cpus=0.5)["changed"] is False
    configuration = ground.do("container.describe", WEB)["configuration"]
    assert (configuration["cpus"], configuration["memory_bytes"]) == (0.5, 67_108_864)
    ground.do("container.update", WEB, memory_bytes=33_554_432, cpus=None)
    host = ground.inspect("uici-t-web")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (33_554_432, 500_000_000)
    ground.do("container.update", WEB, cpus=0, memory_bytes=0)
    configuration = ground.do("container.describe", WEB)["configuration"]
    assert (configuration["cpus"], configuration["memory_bytes"]) == (None, None)
    assert ground.inspect("uici-t-web")["State"]["StartedAt"] == started


def test_an_impossible_limit_is_refused_by_the_engine(ground: Ground) -> None:
    ground.run("uici-t-web")
    error = ground.fails("container.update", WEB, memory_bytes=1)
    assert error.kind is FailureKind.PERMANENT
    assert "memory limit" in error.message.lower()


def test_status_from_many_threads_shares_few_connections(ground: Ground) -> None:
    ground.run("uici-t-web")
    states: list[str] = []

    def look() -> None:
        for _ in range(10):
            states.append(ground.do("container.status", WEB)["state"])

    threads = [threading.Thread(target=look) for _ in range(8)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["running"] * 80
    assert time.monotonic() > begun
