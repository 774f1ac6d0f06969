"""The executor `docker` without its engine: gone, hanging, dying, far away; and without the SDK."""

from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.docker_ground import Ground, ground_of
from tests.real.components import free_port
from tests.real.docker import DockerEngine
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import FailureKind, Happened

pytestmark = pytest.mark.component("docker")
WEB: JsonObject = {"container": "uici-t-web", "stop_seconds": 1}


@pytest.fixture
def ground(docker_engine: DockerEngine) -> Iterator[Ground]:
    yield from ground_of(docker_engine)


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
