"""Slow, many, endless and ambiguous requests. The limits are small here, so that nothing has to be waited for long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.attack.raw import connected, exchange, rest
from tests.integration.service_rig import DEADLINE, Served, alert, notification, serving
from tests.waiting import until
from uici.access.roles import Role

MOST = 12
HEAD = 4096
PLATFORM = f"""
intake: {{wait_seconds: 60}}
service:
  connections:
    {{most: {MOST}, streams: 2, head_bytes: {HEAD}, head_seconds: 0.5, body_seconds: 0.5, write_seconds: 0.5,
     look_seconds: 0.05}}
"""
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("connections"), platform=PLATFORM) as served:
        yield served


def post(served: Served, *headers: bytes, token: str | None = None) -> bytes:
    bearer = (token or served.tokens[Role.ALERTMANAGER]).encode()
    lines = [b"POST /webhooks/alertmanager HTTP/1.1", b"Host: x", b"Authorization: Bearer " + bearer, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def drip(raw: socket.socket, piece: bytes) -> None:
    """Send `piece` again and again, until the server has had enough."""
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.02):
            try:
                raw.sendall(piece)
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: closed(raw), "the server to close a connection that only drips")
    finally:
        stop.set()
        sender.join(DEADLINE)


def closed(raw: socket.socket) -> bool:
    try:
        return raw.recv(65_536) == b""
    except ConnectionError:
        return True


SLOW: dict[str, tuple[bytes, bytes]] = {
    "a head that drips": (GET, b"X"),
    "headers without an end": (GET, b"X: y\r\n"),
    "an address that drips": (b"GET /", b"a"),
    "blank lines before a request": (b"", b"\r\n"),
    "blank lines after a request": (GET + b"\r\n", b"\r\n"),
    "a body that nobody asked for": (b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b"x"),
}


@pytest.mark.parametrize(("start", "piece"), SLOW.values(), ids=SLOW.keys())
def test_a_request_that_drips_is_cut_off(served: Served, start: bytes, piece: bytes) -> None:
    with connected(served, start) as raw:
        drip(raw, piece)


@pytest.mark.parametrize("sent", [b"", b"G", GET], ids=["nothing", "a letter", "half a head"])
def test_a_request_that_never_comes_is_cut_off(served: Served, sent: bytes) -> None:
    assert exchange(served, sent).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_never_comes_is_cut_off_and_nothing_fails(
    served: Served, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert exchange(served, post(served, b"Content-Length: 100"), b"{").startswith(b"HTTP/1.1 408 ")
    assert exchange(served, post(served, b"Transfer-Encoding: chunked"), b"1\r\n{\r\n").startswith(b"HTTP/1.1 408 ")
    assert served.alert(notification(alert("AfterSlowBody"))).status_code == 202
    assert "Traceback" not in capfd.readouterr().err
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_an_answer_that_is_never_read_is_cut_off(served: Served) -> None:
    ask = GET.replace(b"/healthz", b"/openapi.json") + b"\r\n"
    with connected(served) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(0.2)

        def cut() -> bool:
            try:
                raw.sendall(ask * 10)
            except TimeoutError:
                return False  # both directions are full: the server waits for us
            except ConnectionError:
                return True
            return False

        until(cut, "the server to give up an answer that nobody reads")


TOO_LARGE: dict[str, tuple[bytes, ...]] = {
    "an address": (b"GET /" + b"a" * HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n",),
    "an address without an end": (b"GET /" + b"a" * HEAD, b"a"),
    "a header": (GET + b"X: " + b"a" * HEAD + b"\r\n\r\n",),
    "a header without an end": (GET + b"X: " + b"a" * HEAD,),
    "a header's name": (GET + b"a" * HEAD + b": x\r\n\r\n",),
    "many headers": (GET + b"X: y\r\n" * (HEAD // 2) + b"\r\n",),
    "many headers one by one": (GET, *[b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"] * (HEAD // 30)),
    "before a body": (GET.replace(b"GET", b"POST") + b"Content-Length: 1\r\nX: " + b"a" * HEAD + b"\r\n\r\n{",),
}


@pytest.mark.parametrize("pieces", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_head_that_is_too_large_is_refused(served: Served, pieces: tuple[bytes, ...]) -> None:
    answer = exchange(served, *pieces)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # the answer is lost where more was sent after it
    assert answer.count(b"HTTP/1.1") <= 1
    refused = (b"HTTP/1.1 431", b"HTTP/1.1 408")
    until(lambda: exchange(served, pieces[0])[:12] in refused, "a refusal that is not lost on its way")


def test_idle_connections_do_not_keep_others_out(tmp_path: Path) -> None:
    # Here nothing is given up for being late, neither the idle ones, which so have to make room, nor who asks.
    patient = PLATFORM.replace("_seconds: 0.5", "_seconds: 60")
    with ExitStack() as stack:
        served = stack.enter_context(serving(tmp_path, platform=patient))
        for _ in range(3 * MOST):
            stack.enter_context(connected(served))
        bearer = {"Authorization": f"Bearer {served.tokens[Role.ALERTMANAGER]}"}
        for number in range(5):
            # On a new connection: one that is idle makes room, and what is asked on it in that moment is lost.
            with httpx.Client(base_url=served.url, timeout=DEADLINE, trust_env=False, headers=bearer) as other:
                asked = notification(alert(f"Crowded{number}"))
                assert other.post("/webhooks/alertmanager", json=asked).status_code == 202


def test_where_all_connections_are_at_work_the_next_is_told_to_come_back(served: Served) -> None:
    slow = post(served, b"Content-Length: 100", b"Expect: 100-continue")
    with ExitStack() as stack:
        for _ in range(MOST):
            assert stack.enter_context(connected(served, slow)).recv(100).startswith(b"HTTP/1.1 100 ")
        answers = [rest(raw) for raw in [stack.enter_context(connected(served)) for _ in range(MOST)]]
        full = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        assert full
        assert all(b"\r\nretry-after: " in answer for answer in full)
    until(lambda: served.client.get("/healthz").is_success, "room again")


def test_event_streams_are_bounded_and_make_room_when_they_end(served: Served) -> None:
    ask = GET.replace(b"/healthz", b"/api/v1/events")
    ask += b"Authorization: Bearer " + served.tokens[Role.VIEWER].encode() + b"\r\n\r\n"

    def answered(raw: socket.socket, wanted: bytes) -> bool:
        return wanted in raw.recv(4096, socket.MSG_PEEK)

    with connected(served, ask) as first, connected(served, ask) as second:
        for raw in (first, second):
            until(lambda raw=raw: answered(raw, b"retry: "), "a stream to begin")  # type: ignore[misc]
        refused = served.as_admin("GET", "/api/v1/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
        assert "retry-after" in refused.headers
        assert served.as_admin("GET", "/api/v1/events", headers={"Accept": "application/json"}).is_success
    opened: Callable[[], bool] = lambda: b" 200 " in first_line(served, ask)  # noqa: E731
    until(opened, "room for a stream, once others have ended")


def first_line(served: Served, ask: bytes) -> bytes:
    with connected(served, ask) as raw:
        return raw.recv(4096).partition(b"\r\n")[0]


AMBIGUOUS: dict[str, bytes] = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked",
    "both lengths the other way": b"Transfer-Encoding: chunked\r\nContent-Length: 4",
    "two different lengths": b"Content-Length: 4\r\nContent-Length: 40",
    "two equal lengths": b"Content-Length: 4\r\nContent-Length: 4",
    "a list of lengths": b"Content-Length: 4, 4",
    "a negative length": b"Content-Length: -4",
    "a length with a sign": b"Content-Length: +4",
    "a length in hexadecimal": b"Content-Length: 0x4",
    "a length that is too large": b"Content-Length: 18446744073709551620",
    "a blank before the colon": b"Content-Length : 4",
    "a folded header": b"X: y\r\n Content-Length: 4",
    "chunked and something after it": b"Transfer-Encoding: chunked, identity",
    "an unknown coding": b"Transfer-Encoding: xchunked",
    "a control character in a header": b"X: a\x00b",
    "a bare line feed in a header": b"X: a\nTransfer-Encoding: chunked",
    "a bare carriage return in a header": b"X: a\rb",
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_a_request_of_two_readings_is_answered_once_and_never_with_yes(served: Served, headers: bytes) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(served, post(served, headers) + b"0\r\n\r\n" + smuggled)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ")), answer
    assert b'{"ok":true}' not in answer


def test_what_asks_for_another_protocol_gets_none(served: Served) -> None:
    for upgrade in (b"websocket", b"h2c"):
        lines = b"Connection: Upgrade, close\r\nUpgrade: " + upgrade + b"\r\nSec-WebSocket-Version: 13\r\n"
        answer = exchange(served, GET + lines + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), answer
        assert b"101 Switching" not in answer


def test_no_answer_stands_within_another(served: Served) -> None:
    ask = GET.replace(b"/healthz", b"/api/v1/events")
    ask += b"Authorization: Bearer " + served.tokens[Role.VIEWER].encode() + b"\r\n\r\n"
    with connected(served, ask) as raw:
        until(lambda: b"retry: " in raw.recv(4096, socket.MSG_PEEK), "a stream to begin")
        raw.sendall(b"what is this\r\n\r\n")
        assert rest(raw).count(b"HTTP/1.1 ") == 1
