"""The container that holds UICI's state is not changed, by whatever road the state's URL leads to it."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from executors.docker.state_server import EngineMachine, holders
from tests.integration.docker_ground import Ground
from tests.real.components import free_port
from tests.real.docker import DockerEngine
from uici.bootstrap.identity import discover
from uici.model.base import JsonObject
from uici.model.identity import SelfGuardLayers, SelfIdentity

ONLY_EXECUTOR = SelfGuardLayers(intake=False, planning=False, translation=False)
HERE = EngineMachine("", from_container=False)


def listed(**more: Any) -> JsonObject:
    """One entry of the engine's list: a container that publishes 5432 on all addresses."""
    port = {"IP": "0.0.0.0", "PrivatePort": 5432, "PublicPort": 5432, "Type": "tcp"}
    return {"Id": "c" * 64, "Labels": {}, "HostConfig": {"NetworkMode": "bridge"}, "Ports": [port], **more}


def held(entry: JsonObject, server: str, machine: EngineMachine = HERE, *exposed: str) -> bool:
    return bool(holders([entry], [server], machine, lambda _: exposed))


def test_a_published_port_is_the_state_where_the_state_is_on_the_engines_machine() -> None:
    assert held(listed(), "127.0.0.1:5432")
    assert held(listed(), "[::1]:5432")
    own = (one.address for one in psutil.net_if_addrs()["lo"] if one.family is socket.AF_INET)
    assert held(listed(), f"{next(own)}:5432")
    assert not held(listed(), "127.0.0.1:5433")
    assert not held(listed(), "192.0.2.7:5432")
    udp = [{"IP": "0.0.0.0", "PrivatePort": 5432, "PublicPort": 5432, "Type": "udp"}]
    assert not held(listed(Ports=udp), "127.0.0.1:5432")
    elsewhere = [{"IP": "192.0.2.1", "PrivatePort": 5432, "PublicPort": 5432, "Type": "tcp"}]
    assert not held(listed(Ports=elsewhere), "127.0.0.1:5432")
    inside = [{"PrivatePort": 5432, "Type": "tcp"}]
    assert not held(listed(Ports=inside), "127.0.0.1:5432")


def test_an_engine_elsewhere_is_judged_by_its_own_address() -> None:
    there = EngineMachine("192.0.2.7", from_container=False)
    assert held(listed(), "192.0.2.7:5432", there)
    assert not held(listed(), "127.0.0.1:5432", there)
    assert held(listed(), "127.0.0.1:5432", EngineMachine("127.0.0.1", from_container=False))


def test_what_cannot_be_told_is_taken_for_the_state() -> None:
    assert held(listed(), "testserver:5432")
    # In a container nobody knows the addresses of the machine below.
    assert held(listed(), "192.0.2.7:5432", EngineMachine("", from_container=True))


def test_a_container_is_known_by_its_address_and_by_its_name_in_its_project() -> None:
    network = {"Networks": {"db": {"IPAddress": "10.7.0.3", "GlobalIPv6Address": ""}}}
    own = listed(NetworkSettings=network, Ports=[])
    assert held(own, "10.7.0.3:5432")
    assert not held(own, "10.7.0.4:5432")
    # The address is another container's: what publishes the same port is not meant.
    assert list(holders([own, listed(Id="d" * 64)], ["10.7.0.3:5432"], HERE, lambda _: ())) == ["c" * 64]
    named = listed(Labels={"com.docker.compose.service": "testserver"}, Ports=[])
    assert held(named, "testserver:5432")
    assert not held(named, "localhost:5432")


def test_a_container_in_the_network_of_its_machine_is_known_by_the_port_of_its_image() -> None:
    beside = listed(HostConfig={"NetworkMode": "host"}, Ports=[])
    assert held(beside, "127.0.0.1:5432", HERE, "5432/tcp")
    assert not held(beside, "127.0.0.1:5432", HERE, "5432/udp")
    assert not held(listed(Ports=[]), "127.0.0.1:5432", HERE, "5432/tcp")


class Yard:
    """Containers on a real engine: one that publishes the state's port, and another."""

    def __init__(self, engine: DockerEngine) -> None:
        mark = secrets.token_hex(4)
        self.ground, self.port = Ground(engine), free_port()
        self.network, self.state, self.other = (f"uici-state-{what}-{mark}" for what in ("net", "db", "web"))
        self.client: Any = engine.client()
        self.client.create_network(self.network)
        published = {"network_mode": self.network, "port_bindings": {5432: ("127.0.0.1", self.port)}}
        self.ground.run(self.state, ports=[5432], host=published)
        self.ground.run(self.other)

    def close(self) -> None:
        for name in (self.state, self.other):
            self.client.remove_container(name, force=True)
        self.client.remove_network(self.network)
        self.client.close()
        self.ground.executor.close()
        self.ground.client.close()


@pytest.fixture(scope="module")
def yard(docker_engine: DockerEngine) -> Iterator[Yard]:
    yard = Yard(docker_engine)
    try:
        yield yard
    finally:
        yard.close()


@pytest.mark.component("docker")
def test_the_container_behind_the_states_port_is_not_restarted_and_its_neighbour_is(yard: Yard) -> None:
    found = discover((), f"postgresql://uici@127.0.0.1:{yard.port}/uici")
    # As where UICI runs outside of containers, whatever this test runs in.
    identity = SelfIdentity(state_addresses=found.state_addresses)
    executor = yard.ground.make(identity=identity, layers=ONLY_EXECUTOR)
    error = yard.ground.fails("container.restart", {"container": yard.state}, executor)
    assert (error.code, "the server of UICI's state" in error.message) == ("self_target", True)
    yard.ground.do("container.restart", {"container": yard.other, "stop_seconds": 1}, executor)
    executor.close()
