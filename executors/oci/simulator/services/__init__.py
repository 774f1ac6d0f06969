"""The simulated services, one module each; importing this package registers all that they answer.

Belongs here: what a service's operations do to the cloud's state, and what they answer.
Does not belong here: the protocol (signatures, routing, shapes, retry tokens), which is the same for all of them.
"""

from __future__ import annotations

from executors.oci.simulator.cloud import AVAILABILITY_DOMAIN, Cloud
from executors.oci.simulator.services import (
    agent,
    clusters,
    compute,
    container_instances,
    functions,
    identity,
    load_balancers,
    logs,
    monitoring,
    pools,
    secrets,
    work_requests,
)

__all__ = [
    "AVAILABILITY_DOMAIN",
    "agent",
    "clusters",
    "compute",
    "container_instances",
    "found",
    "functions",
    "identity",
    "load_balancers",
    "logs",
    "monitoring",
    "pools",
    "secrets",
    "work_requests",
]


def found(cloud: Cloud) -> None:
    """What a new tenancy has."""
    identity.found(cloud)
