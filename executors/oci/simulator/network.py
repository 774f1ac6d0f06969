"""The simulated network: one subnet of this machine's loopback, and the VNICs in it."""

from __future__ import annotations

import ipaddress
import secrets

from executors.oci.simulator.cloud import AVAILABILITY_DOMAIN, Cloud
from executors.oci.simulator.refusals import invalid_parameter, limit_exceeded, related_not_found
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

DEFAULT_PORT = 8080
"""A program's, unless its environment has PORT."""


def new_subnet(cloud: Cloud) -> None:
    """Choose the /24 of this cloud, its own so that several simulators do not meet."""
    prefix = f"127.{2 + secrets.randbelow(250)}.{secrets.randbelow(256)}"
    made = Resource("subnet", cloud.new_id("subnet"), {}, {"cidr": f"{prefix}.0/24"})
    cloud.state.put(made)
    cloud.state.set_fact("subnet", made.id)


def add_vnic(cloud: Cloud, compartment: str, asked: JsonObject, owner: str) -> Resource:
    """A VNIC with a free address, or with the one that was asked for."""
    subnet = cloud.state.get("subnet", asked.get("subnetId") or "")
    if subnet is None:
        raise related_not_found(str(asked.get("subnetId")))
    made = Resource("vnic", cloud.new_id("vnic"), {}, {"owner": owner})
    made.wire = {
        "id": made.id,
        "availabilityDomain": AVAILABILITY_DOMAIN,
        "compartmentId": compartment,
        "displayName": asked.get("displayName") or f"vnic-{made.id[-6:]}",
        "hostnameLabel": asked.get("hostnameLabel"),
        "isPrimary": True,
        "lifecycleState": "AVAILABLE",
        "privateIp": _address(cloud, subnet, asked.get("privateIp")),
        "subnetId": subnet.id,
        "timeCreated": cloud.moment(),
        "nsgIds": asked.get("nsgIds") or [],
        "skipSourceDestCheck": bool(asked.get("skipSourceDestCheck")),
        "freeformTags": asked.get("freeformTags") or {},
        "definedTags": asked.get("definedTags") or {},
    }
    cloud.state.put(made)
    return made


def _address(cloud: Cloud, subnet: Resource, asked: str | None) -> str:
    network = ipaddress.IPv4Network(subnet.hidden["cidr"])
    taken = {one.wire["privateIp"] for one in cloud.state.find("vnic") if one.wire["lifecycleState"] == "AVAILABLE"}
    if asked is not None:
        if asked in taken or ipaddress.ip_address(asked) not in network:
            raise invalid_parameter(f"privateIp {asked} is in use or not in {network}")
        return asked
    for address in list(network.hosts())[1:]:  # the first is the gateway's
        if str(address) not in taken:
            return str(address)
    raise limit_exceeded(f"There is no free address in {network}")


def remove_vnic(cloud: Cloud, id: str) -> None:
    """The VNIC's address is free again."""
    vnic = cloud.state.get("vnic", id)
    if vnic is not None:
        vnic.wire["lifecycleState"] = "TERMINATED"
        cloud.state.put(vnic)
