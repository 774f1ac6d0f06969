"""The socket that the service listens on."""

from __future__ import annotations

import socket

from uici.bootstrap.serving import _listen


def test_answers_do_not_wait_for_delayed_acknowledgements() -> None:
    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
