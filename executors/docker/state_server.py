"""Which containers of an engine hold UICI's state: those that the address of the state's server leads to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import psutil

from executors.docker.engine import Engine
from executors.docker.lookup import Lookup
from executors.docker.settings import LABEL_SERVICE
from uici.model.identity import SelfIdentity

_Address = IPv4Address | IPv6Address
Exposed = Callable[[str], Iterable[str]]
"""Of a container's id: the ports that its image says, such as `5432/tcp`."""


class StateServer:
    """What of an engine's containers holds UICI's state."""

    def __init__(self, engine: Engine, lookup: Lookup, identity: Callable[[], SelfIdentity]) -> None:
        self._engine = engine
        self._lookup = lookup
        self._identity = identity

    def server_of(self, container_id: str) -> str | None:
        """The address of the state's server, where the container is it or may be. Raises CallError."""
        if not self._identity().state_addresses:
            return None
        return self.holders(self._lookup.listed({})).get(container_id)

    def holders(self, listed: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
        """Those of the containers that hold the state, or may do so -> the server's address. Raises CallError."""
        identity = self._identity()
        host = urlsplit(self._engine.settings.base_url).hostname or ""
        machine = EngineMachine(host, from_container=bool(identity.containers))
        return holders(listed, identity.state_addresses, machine, self._exposed)

    def _exposed(self, container_id: str) -> Iterable[str]:
        found = self._lookup.inspect(container_id)
        return (found or {}).get("Config", {}).get("ExposedPorts") or ()


@dataclass(frozen=True)
class EngineMachine:
    """What is known of the machine that an engine runs on."""

    host: str
    """Its name in the engine's address; empty where the engine is reached by a socket file of this machine."""
    from_container: bool
    """Whether UICI itself runs in a container: the addresses that it sees are not its machine's then."""

    def may_be(self, found: frozenset[_Address], name: str) -> bool:
        """Whether a name, with the addresses that it has, may mean this machine. What cannot be told may be so."""
        if not found or self.from_container:
            return True
        if self.host:
            theirs = _resolved(self.host)
            if not any(one.is_loopback for one in theirs):
                return name == self.host or not theirs or bool(found & theirs)
        return any(one.is_loopback for one in found) or bool(found & _own_addresses())


def holders(
    entries: Iterable[Mapping[str, Any]], servers: Iterable[str], machine: EngineMachine, exposed: Exposed
) -> dict[str, str]:
    """Ids of the containers that one of the servers (`host:port`) may be -> that server.

    Each of `entries` is one of the engine's list. A container is it by its address in a network, by its name in its
    compose project, by a port that it publishes, or, in the network of its machine, by a port that its image says.
    """
    found: dict[str, str] = {}
    running = list(entries)
    for server in sorted(servers):
        host, _, port = server.rpartition(":")
        addresses = _resolved(host.strip("[]"))
        of_networks = {entry["Id"]: _inside(entry) for entry in running}
        direct = [own for own, inside in of_networks.items() if inside & addresses]
        named = [one["Id"] for one in running if (one.get("Labels") or {}).get(LABEL_SERVICE, "").lower() == host]
        if direct or named:
            found |= dict.fromkeys((*direct, *named), server)
        elif machine.may_be(addresses, host):
            for entry in running:
                beside = (entry.get("HostConfig") or {}).get("NetworkMode") == "host"
                if _published(entry, int(port), addresses, machine) or (
                    beside and f"{port}/tcp" in exposed(entry["Id"])
                ):
                    found[entry["Id"]] = server
    return found


def _published(entry: Mapping[str, Any], port: int, addresses: frozenset[_Address], machine: EngineMachine) -> bool:
    """Whether the port of the machine leads to the container."""
    for one in entry.get("Ports") or ():
        if one.get("PublicPort") == port and one.get("Type", "tcp") == "tcp":
            at = ip_address(one.get("IP") or "0.0.0.0")  # noqa: S104  # what the engine says, nothing is bound here
            if at.is_unspecified or at in addresses or not addresses or machine.from_container:
                return True
    return False


def _inside(entry: Mapping[str, Any]) -> frozenset[_Address]:
    networks = ((entry.get("NetworkSettings") or {}).get("Networks") or {}).values()
    given = (network.get(key) for network in networks for key in ("IPAddress", "GlobalIPv6Address"))
    return frozenset(ip_address(one) for one in given if one)


def _resolved(host: str) -> frozenset[_Address]:
    """All addresses of a name; none where it cannot be told."""
    try:
        return frozenset({ip_address(host)})
    except ValueError:
        pass  # it is a name
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(ip_address(str(one[4][0]).partition("%")[0]) for one in found)


def _own_addresses() -> frozenset[_Address]:
    kept = (socket.AF_INET, socket.AF_INET6)
    each = (one for addresses in psutil.net_if_addrs().values() for one in addresses if one.family in kept)
    return frozenset(ip_address(one.address.partition("%")[0]) for one in each)
