"""Engines on other machines, over TLS and through ssh: what goes wrong on the way, and what is then known of a call."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from executors.docker import DockerExecutor
from executors.docker.connection import DockerSettings
from executors.docker.tunnel import command
from tests.contract.docker_rig import make_call
from tests.contract.rig import ALL_LAYERS, NOBODY
from tests.real.docker import IMAGE
from tests.real.remote import Authority
from tests.real.remote_engine import RemoteEngine
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind
from uici.ports import ExecutorContext

STATUS = make_call("container.status", target={"container": "uici-t-remote"})
PERMANENT, TEMPORARY, UNKNOWN = FailureKind.PERMANENT, FailureKind.TEMPORARY, FailureKind.UNKNOWN


@contextmanager
def executor(connection: JsonObject) -> Iterator[DockerExecutor]:
    settings = {"timeout_seconds": 3.0, **connection}
    made = DockerExecutor(ExecutorContext(environment="far", settings=settings, identity=NOBODY, layers=ALL_LAYERS))
    try:
        yield made
    finally:
        made.close()


def failure(made: DockerExecutor, call: Call = STATUS) -> CallError:
    with pytest.raises(CallError) as caught:
        made.perform(call)
    return caught.value


def refused(connection: JsonObject) -> tuple[FailureKind, str, str]:
    """How a look fails over this connection, and that the executor's check says the same."""
    with executor(connection) as made:
        error = failure(made)
        report = made.check()
        assert not report.ok
        assert "'far'" in report.detail
    return error.kind, error.code, error.message


# --- TLS ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, remote_engine: RemoteEngine) -> Authority:
    return Authority(tmp_path_factory.mktemp("other") / "ca", "another-ca")


def test_over_tls_by_paths_and_by_text(remote_engine: RemoteEngine) -> None:
    paths = remote_engine.over_tls()
    # As a reference's value comes, after it was resolved.
    texts = paths | {"tls": {name: Path(path).read_text() for name, path in paths["tls"].items()}}
    for connection in (paths, texts):
        with executor(connection) as made:
            assert made.perform(STATUS)["state"] == "missing"
            assert made.check().ok


def test_an_engine_that_is_not_trusted(remote_engine: RemoteEngine, other: Authority) -> None:
    kind, code, message = refused(remote_engine.over_tls(ca=other.file))
    assert (kind, code) == (PERMANENT, "tls_untrusted")
    assert "tls.ca" in message
    public = remote_engine.over_tls()
    del public["tls"]["ca"]
    assert refused(public)[:2] == (PERMANENT, "tls_untrusted")
    with executor(remote_engine.over_tls(ca=other.file, verify=False)) as made:
        assert made.perform(STATUS)["state"] == "missing"


def test_an_engine_under_another_name(remote_engine: RemoteEngine) -> None:
    connection = remote_engine.over_tls() | {"base_url": f"tcp://localhost:{remote_engine.port}"}
    assert refused(connection)[:2] == (PERMANENT, "tls_wrong_host")


def test_certificates_that_the_engine_refuses(remote_engine: RemoteEngine, other: Authority) -> None:
    authority = remote_engine.authority
    without = {"base_url": remote_engine.over_tls()["base_url"], "tls": {"ca": authority.file}}
    stranger = remote_engine.over_tls(other.issue("stranger"))
    expired = remote_engine.over_tls(authority.issue("expired", expired=True))
    for connection in (without, stranger, expired):
        kind, code, message = refused(connection)
        # The engine's word may be lost behind the end of the connection, which may then be the engine's own end.
        assert (kind, code) in {(PERMANENT, "tls_refused"), (TEMPORARY, "docker_unreachable")}, message
        assert "tls.certificate" in message


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that gives every connection the same answer; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    answer(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_an_engine_whose_certificate_has_expired(remote_engine: RemoteEngine) -> None:
    pair = remote_engine.authority.issue("expired-server", host="IP:127.0.0.1", expired=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with listening(lambda connection: context.wrap_socket(connection, server_side=True).close()) as url:
        kind, code, message = refused(remote_engine.over_tls() | {"base_url": url})
    assert (kind, code) == (PERMANENT, "tls_expired")
    assert "clocks" in message


def test_tls_and_none_do_not_meet(remote_engine: RemoteEngine) -> None:
    assert refused({"base_url": f"tcp://127.0.0.1:{remote_engine.port}"})[:2] == (PERMANENT, "tls_needed")

    def plain(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with listening(plain) as url:
        assert refused(remote_engine.over_tls() | {"base_url": url})[:2] == (PERMANENT, "tls_not_spoken")


def test_files_that_do_not_serve(remote_engine: RemoteEngine, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.pem"
    argv = ["openssl", "ec", "-in", str(remote_engine.client.key), "-aes256", "-passout", "pass:x", "-out"]
    subprocess.run([*argv, str(encrypted)], check=True, capture_output=True)
    another = remote_engine.authority.issue("another")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"ca": "/nowhere.pem"}, "tls.ca"),
        ({"ca": __file__}, "tls.ca"),
        ({"key": "/nowhere.pem"}, "tls.certificate and tls.key"),
        ({"key": str(another.key)}, "mismatch"),
        ({"key": str(encrypted)}, "encrypted"),
    )
    for more, told in cases:
        kind, code, message = refused(remote_engine.over_tls(**more))
        assert (kind, code, told in message) == (PERMANENT, "bad_settings", True), message


def test_renewed_certificates_are_found(remote_engine: RemoteEngine, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"

    def use(pair: Any) -> None:
        shutil.copy(pair.certificate, certificate)
        shutil.copy(pair.key, key)

    use(remote_engine.authority.issue("old", expired=True))
    with executor(remote_engine.over_tls(certificate=str(certificate), key=str(key))) as made:
        assert failure(made).code in {"tls_refused", "docker_unreachable"}
        use(remote_engine.client)
        assert made.perform(STATUS)["state"] == "missing"


# --- ssh ------------------------------------------------------------------------------------------------------


def test_a_host_whose_key_is_not_known_is_never_accepted(remote_engine: RemoteEngine, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    kind, code, message = refused(remote_engine.over_ssh(known_hosts=str(known)))
    assert (kind, code) == (PERMANENT, "ssh_host_key_unknown"), message
    assert "known_hosts" in message
    assert known.read_text() == ""
    type_, text = remote_engine.ssh.stranger.with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"[127.0.0.1]:{remote_engine.ssh.port} {type_} {text}\n")
    assert refused(remote_engine.over_ssh(known_hosts=str(known)))[:2] == (PERMANENT, "ssh_host_key_changed")


def test_a_key_that_is_refused(remote_engine: RemoteEngine) -> None:
    kind, code, message = refused(remote_engine.over_ssh(identity=str(remote_engine.ssh.stranger)))
    assert (kind, code) == (PERMANENT, "ssh_refused")
    assert "authorized_keys" in message


def test_nobody_listens_or_no_engine_is_there(remote_engine: RemoteEngine) -> None:
    connection = remote_engine.over_ssh()
    nobody = connection["base_url"].replace(str(remote_engine.ssh.port), "9")
    kind, code, message = refused(connection | {"base_url": nobody})
    assert (kind, code) == (TEMPORARY, "docker_unreachable")
    assert "Connection refused" in message
    nothing = refused(connection | {"base_url": f"{remote_engine.ssh.url}/nowhere.sock"})
    assert nothing[:2] == (TEMPORARY, "docker_unreachable"), nothing


def test_a_missing_ssh_client(remote_engine: RemoteEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused(remote_engine.over_ssh())[:2] == (PERMANENT, "ssh_missing")


def test_the_client_asks_nothing_and_trusts_only_known_hosts() -> None:
    argv = command(DockerSettings(base_url="ssh://deploy@host-1:2222/run/d.sock"), 3.0)
    assert argv[argv.index("--") :] == (
        "--",
        "host-1",
        "docker",
        "--host",
        "unix:///run/d.sock",
        "system",
        "dial-stdio",
    )
    assert argv[argv.index("-l") + 1] == "deploy"
    assert argv[argv.index("-p") + 1] == "2222"
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes"} <= set(argv)


def tunnels() -> list[psutil.Process]:
    """The ssh clients that this process has started."""
    return [child for child in psutil.Process().children() if "dial-stdio" in child.cmdline()]


def test_connections_are_used_again_and_their_clients_end_with_them(remote_engine: RemoteEngine) -> None:
    with executor(remote_engine.over_ssh()) as made:
        for _ in range(3):
            made.perform(STATUS)
        assert len(tunnels()) == 1
    assert tunnels() == []


# --- mid-call -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["tls", "ssh"])
def far(request: pytest.FixtureRequest, remote_engine: RemoteEngine) -> Iterator[DockerExecutor]:
    with executor(remote_engine.over_tls() if request.param == "tls" else remote_engine.over_ssh()) as made:
        yield made


@pytest.fixture
def running(remote_engine: RemoteEngine) -> Iterator[None]:
    client = remote_engine.engine.client()
    host = client.create_host_config(network_mode="none")
    made = client.create_container(f"{IMAGE}:good", name="uici-t-remote", host_config=host)
    try:
        client.start(made["Id"])
        yield
    finally:
        client.remove_container(made["Id"], force=True)
        client.close()


@pytest.mark.usefixtures("running")
def test_an_engine_that_is_silent_in_the_middle_of_a_change(remote_engine: RemoteEngine, far: DockerExecutor) -> None:
    target = {"container": "uici-t-remote", "stop_seconds": 1}
    assert far.perform(STATUS)["state"] == "running"
    remote_engine.engine.pause()
    try:
        # Whether a change was carried out is not known; a look has changed nothing.
        stop = make_call("engine.request", method="POST", path=["containers", "uici-t-remote", "stop"])
        change = failure(far, stop.model_copy(update={"timeout_seconds": 3.0}))
        look = failure(far, make_call("container.logs", target=target))
    finally:
        remote_engine.engine.resume()
    assert (change.kind, look.kind) == (UNKNOWN, TEMPORARY)


@pytest.mark.usefixtures("running")
def test_a_client_that_is_killed_in_the_middle_of_a_change(remote_engine: RemoteEngine) -> None:
    found: list[CallError] = []
    with executor(remote_engine.over_ssh()) as made:
        made.perform(STATUS)
        (tunnel,) = tunnels()
        remote_engine.engine.pause()
        try:
            stop = make_call("engine.request", method="POST", path=["containers", "uici-t-remote", "stop"])
            thread = threading.Thread(target=lambda: found.append(failure(made, stop)))
            thread.start()
            time.sleep(0.3)
            tunnel.send_signal(signal.SIGKILL)
            thread.join(30)
        finally:
            remote_engine.engine.resume()
        assert (found[0].kind, found[0].code) == (UNKNOWN, "docker_connection_lost")
        # The next call makes a connection of its own.
        assert made.perform(STATUS)["state"] in {"running", "stopped"}


# --- what people write ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        ({"base_url": "tcp://10.0.0.7:2375"}, "insecure: true"),
        ({"base_url": "http://docker.example:2375"}, "insecure: true"),
        ({"base_url": "tcp://docker.example:2376", "tls": {"certificate": "/c.pem"}}, "belong together"),
        ({"base_url": "tcp://docker.example:2376", "tls": {"ca": "ca.pem"}}, "absolute path"),
        ({"base_url": "unix:///var/run/docker.sock", "tls": {}}, "tls goes with tcp"),
        ({"base_url": "tcp://127.0.0.1:2375", "ssh": {}}, "ssh goes with ssh"),
        ({"base_url": "ssh://user:password@host"}, "without a password"),
        ({"base_url": "ssh://-oProxyCommand=touch"}, "base_url is"),
        ({"base_url": "ssh://host/run/d.sock;reboot"}, "base_url is"),
        ({"base_url": "ssh://host/$(reboot)"}, "base_url is"),
        ({"base_url": "ssh://host:99999"}, "port"),
        ({"base_url": "ssh://host", "ssh": {"identity": "/a b"}}, "absolute path"),
        ({"base_url": "ssh://host", "ssh": {"known_hosts": "/%h"}}, "absolute path"),
    ],
)
def test_connections_that_are_refused(connection: JsonObject, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DockerSettings.model_validate(connection)


@pytest.mark.parametrize(
    "connection",
    [
        {"base_url": "tcp://127.0.0.1:2375"},
        {"base_url": "tcp://[::1]:2375"},
        {"base_url": "tcp://localhost:2375"},
        {"base_url": "tcp://10.0.0.7:2375", "insecure": True},
        {"base_url": "https://docker.example:2376"},
        {"base_url": "tcp://docker.example:2376", "tls": {}},
        {"base_url": "ssh://docker-host"},
    ],
)
def test_connections_that_are_taken(connection: JsonObject) -> None:
    assert DockerSettings.model_validate(connection).base_url == connection["base_url"]
