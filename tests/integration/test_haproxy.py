"""A real HAProxy in front of two real servers: traffic moves away, sessions end, traffic comes back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from executors import haproxy as client
from executors.haproxy import Backend, Traffic
from tests.real.haproxy import HAProxy, haproxy
from tests.waiting import until
from uici.model.call import CallError, FailureKind, Happened


class Server:
    """Answers with its name; /slow waits until it is released."""

    def __init__(self, name: str) -> None:
        self.release = threading.Event()
        release = self.release

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/slow":
                    release.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(Server(name)) for name in ("a", "b")}


@pytest.fixture(scope="module")
def balancer(servers: dict[str, Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HAProxy]:
    addresses = {name: server.address for name, server in servers.items()}
    with haproxy(tmp_path_factory.mktemp("haproxy"), addresses) as running:
        yield running


@pytest.fixture
def backend(balancer: HAProxy) -> Backend:
    for name in ("a", "b"):
        balancer.ask(f"set server web/{name} state ready")
        balancer.ask(f"set server web/{name} weight 1")
    found = Backend.model_validate(balancer.binding("a"))
    until(lambda: client.look(found).status == "UP" and answers(balancer) == {"a", "b"}, "both servers get traffic")
    return found


def answers(balancer: HAProxy, requests: int = 8) -> set[str]:
    with httpx.Client(trust_env=False, timeout=10) as http:
        return {http.get(f"{balancer.url}/").text for _ in range(requests)}


def test_traffic_moves_away_sessions_end_and_it_comes_back(
    balancer: HAProxy, backend: Backend, servers: dict[str, Server]
) -> None:
    said: list[str] = []

    def ask_slowly() -> None:
        said.append(httpx.get(f"{balancer.url}/slow", trust_env=False, timeout=60).text)

    slow = [threading.Thread(target=ask_slowly) for _ in range(2)]
    for thread in slow:
        thread.start()
    until(lambda: client.look(backend).sessions == 1, "one of two requests waits at the server")
    result = client.change(backend, Traffic.DRAIN, None)
    assert (result["changed"], result["previous_state"]) == (True, "ready")
    assert answers(balancer) == {"b"}
    seen = client.look(backend)
    assert (seen.state, seen.sessions, seen.status, seen.weight) == (Traffic.DRAIN, 1, "DRAIN", 1)
    for server in servers.values():
        server.release.set()
    for thread in slow:
        thread.join()
    assert sorted(said) == ["a", "b"], "what ran when it was drained came to its end"
    until(lambda: client.look(backend).sessions == 0, "no session is left")
    client.change(backend, Traffic.READY, None)
    until(lambda: answers(balancer) == {"a", "b"}, "traffic comes back")
    for server in servers.values():
        server.release.clear()


def test_a_change_is_proved_by_the_state_and_the_weight(balancer: HAProxy, backend: Backend) -> None:
    assert client.remember(backend) == {"state": "ready", "weight": 1}
    assert client.prove(backend, Traffic.MAINT, 5) is Happened.NO
    balancer.ask("set server web/a weight 5")
    assert client.prove(backend, Traffic.MAINT, 5) is Happened.NO
    client.change(backend, Traffic.MAINT, 5)
    assert client.prove(backend, Traffic.MAINT, 5) is Happened.YES
    assert client.prove(backend, Traffic.MAINT, None) is Happened.YES
    assert client.look(backend).status == "MAINT"
    assert client.look(backend).weight == 5


@pytest.mark.parametrize("address", ["runtime", "runtime_tcp"])
def test_both_kinds_of_address_work(balancer: HAProxy, backend: Backend, address: str) -> None:
    other = backend.model_copy(update={"haproxy": getattr(balancer, address)})
    assert client.change(other, Traffic.DRAIN, None)["changed"] is True
    assert client.change(other, Traffic.DRAIN, None)["changed"] is False


def test_who_may_only_look_is_told_what_is_missing(balancer: HAProxy, backend: Backend) -> None:
    user = backend.model_copy(update={"haproxy": balancer.runtime_user})
    assert client.look(user).state is Traffic.READY
    with pytest.raises(CallError, match="level admin") as caught:
        client.change(user, Traffic.DRAIN, None)
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "haproxy_not_permitted")


@pytest.mark.parametrize("names", [{"backend": "nope"}, {"server": "nope"}])
def test_a_name_that_haproxy_does_not_know_is_told(backend: Backend, names: dict[str, str]) -> None:
    with pytest.raises(CallError, match=r"has no server .*nope") as caught:
        client.look(backend.model_copy(update=names))
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "backend_not_found")


def test_nobody_there_is_temporary(tmp_path: Path, backend: Backend) -> None:
    for address in (f"unix:{tmp_path}/none.sock", "127.0.0.1:1"):
        with pytest.raises(CallError) as caught:
            client.change(backend.model_copy(update={"haproxy": address}), Traffic.DRAIN, None)
        assert (caught.value.kind, caught.value.code) == (FailureKind.TEMPORARY, "haproxy_unreachable")


def test_silence_after_a_change_was_sent_is_unknown_and_after_a_look_is_not(tmp_path: Path, backend: Backend) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute.sock"))
        listener.listen(8)
        mute = backend.model_copy(update={"haproxy": f"unix:{tmp_path}/mute.sock", "timeout": 0.2})
        with pytest.raises(CallError) as looked:
            client.look(mute)
        with pytest.raises(CallError) as told:
            client._tell(mute, "set server web/a state drain")
    assert (looked.value.kind, told.value.kind) == (FailureKind.TEMPORARY, FailureKind.UNKNOWN)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(max_size=40),
        st.sampled_from(["a; show info", "a\nshow info", "a\r\nshutdown sessions", "a/b", "a b", "a\\;b", "", "a\x00"]),
    )
)
def test_no_name_becomes_a_second_command(balancer: HAProxy, backend: Backend, text: str) -> None:
    for field in ("backend", "server"):
        try:
            other = Backend.model_validate(balancer.binding("a") | {field: text})
        except ValidationError:
            # Also without the binding's own check nothing is sent.
            other = backend.model_copy(update={field: text})
            with pytest.raises(CallError) as caught:
                client._tell(other, f"set server {other.backend}/{other.server} state maint")
            if "/" not in text and " " not in text:
                assert caught.value.code == "bad_command"
            continue
        if (other.backend, other.server) not in {("web", "a"), ("web", "b")}:
            with pytest.raises(CallError, match="has no server"):
                client.look(other)
    assert balancer.admin_state("a") == balancer.admin_state("b") == 0


@pytest.mark.parametrize(
    "address",
    ["unix:relative.sock", "unix:", "10.0.0.1:9999", "haproxy.example:9999", "127.0.0.1", "127.0.0.1:0", "unix:/a\x00"],
)
def test_an_address_that_others_could_reach_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="haproxy:"):
        Backend(haproxy=address, backend="web", server="a")
