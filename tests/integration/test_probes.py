"""Health probes against real listeners."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from executors.probes import Probe, run_probe


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = int(self.path.strip("/").partition("?")[0] or "200")
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_http_statuses(port: int) -> None:
    assert run_probe(Probe(http=f"http://127.0.0.1:{port}/200"))["ok"]
    assert not run_probe(Probe(http=f"http://127.0.0.1:{port}/500"))["ok"]
    assert run_probe(Probe(http=f"http://127.0.0.1:{port}/503", expect_status=503))["ok"]
    assert run_probe(Probe(http=f"http://127.0.0.1:{port}/302"))["detail"] == "answered 302, expected 200"


def test_a_query_is_not_shown(port: int) -> None:
    result = run_probe(Probe(http=f"http://127.0.0.1:{port}/200?key=s3cret"))
    assert result["ok"]
    assert "s3cret" not in str(result)


def test_a_proxy_of_the_environment_is_not_used(port: int, closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed}")
    assert run_probe(Probe(http=f"http://127.0.0.1:{port}/200"))["ok"]


def test_silence_and_refusal_are_results(silent: int, closed: int) -> None:
    assert "within" in run_probe(Probe(http=f"http://127.0.0.1:{silent}/", timeout=0.2))["detail"]
    assert not run_probe(Probe(http=f"http://127.0.0.1:{closed}/"))["ok"]
    assert run_probe(Probe(tcp=f"127.0.0.1:{silent}"))["ok"]
    assert not run_probe(Probe(tcp=f"127.0.0.1:{closed}"))["ok"]


def test_what_is_no_http_is_a_result() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"\x00\xffgarbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        result = run_probe(Probe(http=f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        thread.join()
    assert not result["ok"]


@pytest.mark.parametrize(
    "probe",
    [
        {},
        {"http": "http://a/", "tcp": "a:1"},
        {"http": "ftp://a/"},
        {"http": "http:///x"},
        {"http": "http://a b/"},
        {"http": "http://a/\r\nX: y"},
        {"http": "http://user:word@a/"},
        {"http": "http://a:99999/"},
        {"tcp": "a"},
        {"tcp": "a:0"},
        {"tcp": ":1"},
        {"tcp": "a:٣"},
        {"tcp": "a:1", "expect_status": 201},
        {"http": "http://a/", "timeout": 0},
        {"http": "http://a/", "command": "x"},
    ],
)
def test_what_is_no_probe_is_refused(probe: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Probe.model_validate(probe)


@pytest.mark.parametrize("probe", [Probe(tcp="127.0.0.1:5432"), Probe(http="http://127.0.0.1/", expect_status=204)])
def test_a_probe_that_was_written_down_in_full_can_be_read_again(probe: Probe) -> None:
    assert Probe.model_validate(probe.model_dump(mode="json")) == probe
