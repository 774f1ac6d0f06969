"""The tests' own safety: nothing leaves this machine, nothing is skipped without being seen."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.conftest import NetworkUseError
from tests.real.components import free_port, require

# 192.0.2.0/24 and .invalid are reserved and reach nobody, should the tripwire ever be broken.
OUTSIDE = "192.0.2.1"


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_connection_to_the_outside_is_refused(method: str, network_tripwire: list[str]) -> None:
    with socket.socket() as outward:
        outward.settimeout(0.1)
        with pytest.raises(NetworkUseError, match="loopback and unix sockets only"):
            getattr(outward, method)((OUTSIDE, 80))
    assert len(network_tripwire) == 1
    network_tripwire.clear()


def test_a_datagram_to_the_outside_is_refused(network_tripwire: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward, pytest.raises(NetworkUseError):
        outward.sendto(b"", (OUTSIDE, 9))
    network_tripwire.clear()


def test_a_name_is_not_looked_up(network_tripwire: list[str]) -> None:
    with pytest.raises(NetworkUseError, match="getaddrinfo"):
        socket.create_connection(("somewhere.invalid", 80), timeout=0.1)
    network_tripwire.clear()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        with socket.create_connection((host, server.getsockname()[1]), timeout=10):
            pass
        thread.join(10)


def test_a_missing_component_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UICI_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="component moon: too far"):
        require("moon", False, "too far")
    require("moon", True, "")


def test_a_missing_component_that_is_required_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UICI_REQUIRE", "sun, moon")
    with pytest.raises(pytest.fail.Exception, match="moon is required by UICI_REQUIRE but not here: too far"):
        require("moon", False, "too far")


def test_ports_are_given_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
