"""The Docker executor on a real engine, beyond what every executor keeps to."""

from __future__ import annotations

import logging
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.contract.docker_rig import make_call
from tests.integration.docker_ground import Ground, ground_of
from tests.real.components import free_port
from tests.real.docker import IMAGE, DockerEngine
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened, Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity

pytestmark = pytest.mark.component("docker")
WEB: JsonObject = {"container": "uici-t-web", "stop_seconds": 1}
COMPOSE = {"com.docker.compose.service": "web", "com.docker.compose.project": "uici-t"}
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


# --- exec and the open call -----------------------------------------------------------------------------------


def test_exec_is_no_shell(ground: Ground) -> None:
    ground.run("uici-t-web")
    texts = ["; touch /tmp/evil", "$(touch /tmp/evil)", "`touch /tmp/evil`", "--help", "a\nb", "| cat"]
    result = ground.do("container.exec", WEB, argv=["echo", *texts])
    assert result == {"exit_code": 0, "output": " ".join(texts) + "\n", "truncated": False}
    assert ground.do("container.exec", WEB, argv=["ls", "/tmp/evil"])["exit_code"] == 1
    error = ground.fails("container.exec", WEB, argv=["/no/such/program", "s3cret-argument"])
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "program_not_started")
    assert "s3cret" not in error.message
    assert ground.happened("container.exec", {}, WEB, argv=["true"]) is Happened.UNKNOWN
    ground.client.stop("uici-t-web", timeout=1)
    assert ground.fails("container.exec", WEB, argv=["true"]).code == "not_running"


def test_exec_output_is_cut(ground: Ground) -> None:
    ground.run("uici-t-web")
    result = ground.do("container.exec", WEB, argv=["sh", "-c", "yes 0123456789 | head -c 200000"])
    assert (result["exit_code"], len(result["output"]), result["truncated"]) == (0, 65_536, True)


def request(method: str, *path: str, **more: object) -> JsonObject:
    return {"method": method, "path": list(path), **more}


def test_open_calls_are_classed_by_what_they_do(ground: Ground) -> None:
    classify = ground.executor.classify
    assert classify("engine.request", request("GET", "containers", "x", "json")) == (False, Risk.LOW)
    assert classify("engine.request", request("HEAD", "_ping")) == (False, Risk.LOW)
    for worst in (
        request("POST", "containers", "x", "start"),
        request("DELETE", "images", "x"),
        request("get", "containers", "json"),
        request("GET", "containers", "x", "attach", "ws"),
        {"method": {"$select": "calls.a.b"}, "path": ["info"]},
        {"method": "GET", "path": ["containers", "x", {"$select": "calls.a.b"}]},
        {"method": "GET"},
    ):
        assert classify("engine.request", worst) == (True, Risk.HIGH), worst
    selected = {"method": "GET", "path": ["containers", {"$select": "calls.a.id"}, "json"]}
    assert classify("engine.request", selected) == (False, Risk.LOW)


def test_the_open_call_reaches_any_endpoint_and_quotes_every_segment(ground: Ground) -> None:
    ground.run("uici-t-web")
    perform = ground.executor.perform
    listed = perform(
        make_call("engine.request", **request("GET", "containers", "json", query={"filters": {"name": ["uici-t-web"]}}))
    )
    assert [one["Names"] for one in listed["body"]] == [["/uici-t-web"]]
    assert perform(make_call("engine.request", **request("GET", "_ping")))["status"] == 200
    made = perform(make_call("engine.request", **request("POST", "volumes", "create", body={"Name": "uici-t-volume"})))
    assert made["status"] == 201
    perform(make_call("engine.request", **request("DELETE", "volumes", "uici-t-volume")))
    for path in (
        ["containers", "..", "info"],
        ["containers", "x/../../info", "json"],
        ["containers", "x?all=1", "json"],
    ):
        with pytest.raises(CallError) as caught:
            perform(make_call("engine.request", **request("GET", *path)))
        assert caught.value.kind is FailureKind.PERMANENT
    with pytest.raises(CallError) as caught:
        perform(make_call("engine.request", **request("POST", "containers", "create", body={"Image": "no/such:1"})))
    assert caught.value.code == "image_not_found"


# --- self -----------------------------------------------------------------------------------------------------


def test_self_is_out_of_reach_by_any_road(ground: Ground) -> None:
    ground.client.create_network("uici-t-net")
    own = ground.run(
        "uici-t-self", labels=COMPOSE, host={"network_mode": "uici-t-net", "binds": ["uici-t-state:/data"]}
    )
    ground.run(
        "uici-t-sibling", labels=COMPOSE | {"com.docker.compose.service": "db"}, host={"network_mode": "uici-t-net"}
    )
    exec_id = ground.client.exec_create(own, ["kill", "1"])["Id"]
    image = ground.inspect(own)["Image"]
    only_id = SelfIdentity(containers=frozenset({own}))
    layers = SelfGuardLayers(intake=False, planning=False, translation=False)
    guarded = ground.make(identity=only_id, layers=layers)
    ground.actions()
    for target in (
        {"container": "uici-t-self"},
        {"container": own[:12]},
        {"container": own},
        SERVICE,
        {"labels": COMPOSE},
    ):
        for name, arguments in (("container.restart", {}), ("container.exec", {"argv": ["true"]})):
            error = ground.fails(name, target, guarded, **arguments)
            assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target"), (target, name)
    roads = [
        request("POST", "containers", "uici-t-self", "kill"),
        request("POST", "containers", "/uici-t-self", "kill"),
        request("POST", "containers", own[:5], "stop"),
        request("DELETE", "containers", own[:20].upper().lower()),
        request("POST", "exec", exec_id, "start", body={"Detach": True}),
        request("POST", "networks", "uici-t-net", "disconnect", body={"Container": "uici-t-self", "Force": True}),
        request("POST", "networks", "uici-t-net", "disconnect", body={"container": own[:6], "Force": True}),
        request("DELETE", "networks", "uici-t-net"),
        request("DELETE", "volumes", "uici-t-state"),
        request("DELETE", "images", image),
        request("DELETE", "images", f"{IMAGE}:good", query={"force": True}),
        request("POST", "containers", "prune"),
        request("POST", "swarm", "leave", query={"force": True}),
        request("POST", "containers", "create", body={"HostConfig": {"VolumesFrom": [own]}}),
    ]
    for road in roads:
        with pytest.raises(CallError) as caught:
            guarded.perform(make_call("engine.request", **road))
        assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "self_target"), road
    assert ground.actions() == []
    # Siblings may be healed, and self may be watched.
    ground.do("container.restart", {"container": "uici-t-sibling", "stop_seconds": 1}, guarded)
    guarded.perform(
        make_call("engine.request", **request("POST", "containers", "uici-t-sibling", "stop", query={"t": 1}))
    )
    assert ground.do("container.status", {"container": "uici-t-self"}, guarded)["state"] == "running"
    # With the layer off, nothing else of the executor stands in the way.
    off = SelfGuardLayers(intake=False, planning=False, translation=False, executor=False)
    unguarded = ground.make(identity=only_id, layers=off)
    unguarded.perform(make_call("engine.request", **request("POST", "containers", own[:5], "stop", query={"t": 1})))
    assert not ground.inspect(own)["State"]["Running"]
    guarded.close()
    unguarded.close()
    ground.client.remove_container(own, force=True)
    ground.client.remove_volume("uici-t-state")


# --- targeting ------------------------------------------------------------------------------------------------


def test_find_asks_the_engine_what_labels_name(ground: Ground) -> None:
    container = ground.run("uici-t-web-1", labels=COMPOSE)
    by_name = ({"container": "uici-t-web-1"},)
    find = ground.executor.find
    assert find({"name": "uici-t-web-1"}) == by_name
    assert find({"container_name": "uici-t-web-1", "job": "cadvisor"}) == by_name
    assert find({"container": "uici-t-web-1"}) == by_name
    assert find({"id": f"/docker/{container}"}) == by_name
    assert find({"id": f"/system.slice/docker-{container}.scope"}) == by_name
    assert find({"container_id": container[:12]}) == by_name
    compose = {
        "container_label_com_docker_compose_service": "web",
        "container_label_com_docker_compose_project": "uici-t",
    }
    assert find(compose) == ({"service": "web", "project": "uici-t"},)
    assert find({**compose, "container_label_com_docker_compose_project": "other"}) == ()
    assert find({"name": "web", "instance": "uici-t-web-1:9100", "job": "uici-t-web-1"}) == ()


# --- the engine goes away -------------------------------------------------------------------------------------


@pytest.fixture
def own(ground: Ground) -> Ground:
    if not ground.engine.is_own:
        pytest.skip("the engine is not the tests' own, so it is not stopped")
    return ground


def test_nothing_listens(ground: Ground, tmp_path: Path) -> None:
    executor = ground.make(url=f"unix://{tmp_path}/nothing.sock")
    for name in ("container.status", "container.restart"):
        error = ground.fails(name, WEB, executor)
        assert (error.kind, error.code) == (FailureKind.TEMPORARY, "docker_unreachable")
    assert not executor.check().ok
    executor.close()


def test_an_engine_that_does_not_answer(own: Ground) -> None:
    own.run("uici-t-web")
    executor = own.make(timeout=1.0)
    before = own.before("container.restart", WEB)
    own.do("container.status", WEB, executor)
    own.engine.pause()
    try:
        error = own.fails("container.status", WEB, executor)
        assert (error.kind, error.code) == (FailureKind.TEMPORARY, "docker_timeout")
        error = own.fails("container.restart", WEB, executor)
        assert (error.kind, error.code) == (FailureKind.UNKNOWN, "docker_timeout")
        assert not executor.check().ok
        fresh = own.make(timeout=1.0)
        error = own.fails("container.restart", WEB, fresh)
        assert (error.kind, error.code) == (FailureKind.TEMPORARY, "docker_unreachable")
    finally:
        own.engine.resume()
    # The engine had read the one request that was unknown; the state shows it in the end.
    until(lambda: own.happened("container.restart", before, WEB) is Happened.YES, "the restart was carried out")
    executor.close()
    fresh.close()


def test_an_engine_that_dies_during_a_call(own: Ground) -> None:
    own.run("uici-t-web", command=["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    target = {"container": "uici-t-web", "stop_seconds": 8}
    before = own.before("container.stop", target)
    timer = threading.Timer(1.0, own.engine.kill)
    timer.start()
    try:
        error = own.fails("container.stop", target)
        assert (error.kind, error.code) == (FailureKind.UNKNOWN, "docker_connection_lost")
        timer.join()  # a dying engine still accepts for a moment what it will never read
        error = own.fails("container.stop", target)
        assert (error.kind, error.code) == (FailureKind.TEMPORARY, "docker_unreachable")
    finally:
        timer.join()
        own.engine.start()
    assert own.happened("container.stop", before, target) is Happened.NO
    assert own.do("container.status", target)["state"] == "running"


def test_a_connection_kept_over_an_engines_restart_is_no_failure(own: Ground) -> None:
    own.run("uici-t-web")
    own.do("container.status", WEB)
    own.engine.restart()
    assert own.do("container.restart", WEB)["changed"] is True


@pytest.fixture
def tcp(own: Ground) -> Iterator[str]:
    """The engine's socket, reachable by TCP."""
    path = own.engine.url.removeprefix("unix://")

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(path)
                back = threading.Thread(target=self.copy, args=(engine, self.request))
                back.start()
                self.copy(self.request, engine)
                back.join()

        @staticmethod
        def copy(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


def test_an_engine_over_tcp(ground: Ground, tcp: str) -> None:
    ground.run("uici-t-web")
    executor = ground.make(url=tcp)
    assert ground.do("container.restart", WEB, executor)["changed"] is True
    assert ground.do("container.status", WEB, executor)["state"] == "running"
    executor.close()
    executor = ground.make(url=f"tcp://127.0.0.1:{free_port()}")
    error = ground.fails("container.restart", WEB, executor)
    assert (error.kind, error.code) == (FailureKind.TEMPORARY, "docker_unreachable")
    executor.close()


# --- without the SDK ------------------------------------------------------------------------------------------


def test_without_the_sdk_the_message_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "docker.py").write_text("raise ImportError('not installed')\n")
    program = (
        "from executors.docker import DockerExecutor\n"
        "from tests.contract.docker_rig import make_call\n"
        "from uici.model.call import CallError\n"
        "from uici.model.identity import SelfIdentity\n"
        "from uici.ports import ExecutorContext\n"
        "executor = DockerExecutor(ExecutorContext(environment='e', settings={}, identity=SelfIdentity()))\n"
        "try:\n"
        "    executor.perform(make_call('container.status', target={'container': 'web'}))\n"
        "except CallError as error:\n"
        "    assert error.code == 'docker_sdk_missing', error.code\n"
        "    assert \"pip install 'uici[docker]'\" in error.message\n"
        "    raise SystemExit(7)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 7, done.stderr.decode()


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
