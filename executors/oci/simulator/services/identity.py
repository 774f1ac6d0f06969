"""Identity: the tenancy, its compartments, availability domains and regions."""

from __future__ import annotations

from executors.oci.simulator.cloud import AVAILABILITY_DOMAIN, REGION, Cloud
from executors.oci.simulator.refusals import not_found
from executors.oci.simulator.serving import Answer, Call, listed, page, serves, shown
from executors.oci.simulator.state import Resource

_CLIENT = "identity.IdentityClient"


def found(cloud: Cloud) -> None:
    """One compartment below the tenancy."""
    made = Resource("compartment", cloud.new_id("compartment"), {})
    made.wire = {
        "id": made.id,
        "compartmentId": cloud.tenancy,
        "name": "simulated",
        "description": "Simulated by UICI",
        "timeCreated": cloud.moment(),
        "lifecycleState": "ACTIVE",
    }
    cloud.state.put(made)
    cloud.state.set_fact("compartment", made.id)


@serves(f"{_CLIENT}.get_tenancy")
def _tenancy(cloud: Cloud, call: Call) -> Answer:
    if call.path["tenancyId"] != cloud.tenancy:
        raise not_found(call.path["tenancyId"])
    body = {"id": cloud.tenancy, "name": "simulated", "description": "Simulated by UICI", "homeRegionKey": "PHX"}
    return Answer(body=body)


@serves(f"{_CLIENT}.get_compartment")
def _compartment(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need("compartment", call.path["compartmentId"]))


@serves(f"{_CLIENT}.list_compartments")
def _compartments(cloud: Cloud, call: Call) -> Answer:
    return listed(call, cloud.in_compartment("compartment", call.asked("compartmentId")), "name", "lifecycleState")


@serves(f"{_CLIENT}.list_availability_domains")
def _domains(cloud: Cloud, call: Call) -> Answer:
    compartment = cloud.need_compartment(call.asked("compartmentId"))
    return page(call, [{"name": AVAILABILITY_DOMAIN, "compartmentId": compartment}])


@serves(f"{_CLIENT}.list_region_subscriptions")
def _regions(cloud: Cloud, call: Call) -> Answer:
    return page(call, [{"regionKey": "PHX", "regionName": REGION, "status": "READY", "isHomeRegion": True}])
