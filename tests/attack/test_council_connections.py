"""Slow, endless and many connections to the council, which has the same bounds as UICI and says so in its own words."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.attack.raw import connected, exchange, rest
from tests.attack.test_connections import drip
from tests.council.ground import MESSAGES, Ground, council
from tests.doubles.model_server import Said
from tests.waiting import until

MOST, HEAD = 12, 4096
LIMITS = {"most": MOST, "head_bytes": HEAD, "head_seconds": 0.5, "body_seconds": 0.5, "write_seconds": 0.5}
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    service = {"connections": {**LIMITS, "look_seconds": 0.05}}
    with council(tmp_path_factory.mktemp("slow"), "one", service=service) as made:
        yield made


def post(ground: Ground, length: int) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {ground.key}"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def code(answer: bytes) -> tuple[bytes, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b" ")[1], json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    ("start", "piece"), [(GET, b"X"), (GET, b"X: y\r\n"), (b"", b"\r\n")], ids=["a head", "headers", "blank lines"]
)
def test_a_request_that_drips_is_cut_off(ground: Ground, start: bytes, piece: bytes) -> None:
    with connected(ground, start) as raw:
        drip(raw, piece)


def test_a_request_that_never_comes_is_told_so(ground: Ground) -> None:
    for sent in (b"", GET, post(ground, 100) + b"{"):
        assert code(exchange(ground, sent)) == (b"408", "request_too_slow")
    assert code(exchange(ground, GET + b"X: " + b"a" * HEAD)) == (b"431", "head_too_large")
    assert code(exchange(ground, b"\0\r\n\r\n")) == (b"400", "not_http")


def test_a_stream_that_is_never_read_is_cut_off_and_its_backend_with_it(ground: Ground) -> None:
    server = ground.servers["one"]
    server.says = lambda body: Said(" ".join(["x" * 60_000] * 500))
    body = json.dumps({"messages": MESSAGES, "stream": True}).encode()
    with connected(ground) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.sendall(post(ground, len(body)) + body)
        until(lambda: server.left, "the backend to see that nobody reads")
    server.says = lambda body: Said()


def test_idle_connections_do_not_keep_others_out(ground: Ground) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MOST):
            stack.enter_context(connected(ground))
        assert exchange(ground, GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_where_all_connections_are_at_work_the_next_is_told_to_come_back(ground: Ground) -> None:
    slow = post(ground, 100).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")

    def told() -> bool:
        # On a busy machine those at work may have been cut off before the next one comes.
        with ExitStack() as stack:
            for raw in [stack.enter_context(connected(ground, slow)) for _ in range(MOST)]:
                raw.recv(100)
            answers = [rest(raw) for raw in [stack.enter_context(connected(ground)) for _ in range(3)]]
        return any(b"HTTP/1.1 503 " in answer and b"retry-after: 1" in answer for answer in answers)

    until(told, "a connection too many to be told to come back")
