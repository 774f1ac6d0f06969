"""Instance configurations and instance pools.

Scaling and the order of termination: https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/updatinginstancepool.htm
"""

from __future__ import annotations

from executors.oci.simulator.cloud import AVAILABILITY_DOMAIN, Cloud
from executors.oci.simulator.refusals import incorrect_state, invalid_parameter, limit_exceeded, related_not_found
from executors.oci.simulator.sdk import operation
from executors.oci.simulator.services import compute
from executors.oci.simulator.serving import Answer, Call, listed, page, serves, shown, step
from executors.oci.simulator.shapes import projected
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

_CLIENT = "core.ComputeManagementClient"
_SCALE_SECONDS = 60.0
_POWER_SECONDS = 50.0
_MAX_SIZE = 50
_LIVING = {"PROVISIONING", "RUNNING", "STARTING", "STOPPING", "STOPPED"}
_POWER = {
    "start": ("START", "STARTING", "RUNNING"),
    "stop": ("STOP", "STOPPING", "STOPPED"),
    "softstop": ("SOFTSTOP", "STOPPING", "STOPPED"),
    "reset": ("RESET", "STARTING", "RUNNING"),
    "softreset": ("SOFTRESET", "STARTING", "RUNNING"),
}
"""What an action does to each instance, and the pool's states during and after it."""


@serves(f"{_CLIENT}.create_instance_configuration")
def _configure(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.body["compartmentId"])
    made = Resource("instance_configuration", cloud.new_id("instanceconfiguration"), {})
    made.wire = {
        **projected(call.body, "InstanceConfiguration", call.operation.types),
        "id": made.id,
        "displayName": call.body.get("displayName") or f"configuration-{made.id[-6:]}",
        "timeCreated": cloud.moment(),
    }
    made.wire.pop("source", None)
    cloud.state.put(made)
    cloud.record(call, made.id, "created")
    return Answer(body=made.wire, headers={"etag": made.etag}, created=made.id)


@serves(f"{_CLIENT}.get_instance_configuration")
def _get_configuration(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need("instance_configuration", call.path["instanceConfigurationId"]))


@serves(f"{_CLIENT}.list_instance_configurations")
def _configurations(cloud: Cloud, call: Call) -> Answer:
    return listed(call, cloud.in_compartment("instance_configuration", call.asked("compartmentId")))


@serves(f"{_CLIENT}.create_instance_pool")
def _create(cloud: Cloud, call: Call) -> Answer:
    asked = call.body
    cloud.need_compartment(asked["compartmentId"])
    _need_configuration(cloud, asked["instanceConfigurationId"])
    made = Resource("instance_pool", cloud.new_id("instancepool"), {})
    made.wire = {
        **projected({**asked, "loadBalancers": None}, "InstancePool", call.operation.types),
        "id": made.id,
        "displayName": asked.get("displayName") or f"pool-{made.id[-6:]}",
        "lifecycleState": "PROVISIONING",
        "timeCreated": cloud.moment(),
        "size": _size(asked["size"]),
    }
    cloud.state.put(made)
    _scale(cloud, made)
    cloud.record(call, made.id, f"created with size {asked['size']}")
    return Answer(body=_seen(cloud, made), headers={"etag": made.etag}, created=made.id)


def _need_configuration(cloud: Cloud, id: str) -> Resource:
    found = cloud.state.get("instance_configuration", id)
    if found is None:
        raise related_not_found(id)
    return found


def _size(size: int) -> int:
    if size < 0:
        raise invalid_parameter(f"size must not be negative: {size}")
    if size > _MAX_SIZE:
        raise limit_exceeded(f"The limit of {_MAX_SIZE} instances for this tenancy would be exceeded")
    return size


def _seen(cloud: Cloud, made: Resource) -> JsonObject:
    running = [one for one in members(cloud, made.id) if one.wire["lifecycleState"] in _LIVING]
    return {**made.wire, "currentSize": len(running)}


def members(cloud: Cloud, pool: str) -> list[Resource]:
    """The instances of a pool that are not on their way out, oldest first."""
    return [
        one
        for one in cloud.state.find("instance")
        if one.hidden.get("pool") == pool and one.wire["lifecycleState"] in _LIVING
    ]


@serves(f"{_CLIENT}.get_instance_pool")
def _get(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance_pool", call.path["instancePoolId"])
    return Answer(body=_seen(cloud, made), headers={"etag": made.etag})


@serves(f"{_CLIENT}.list_instance_pools")
def _list(cloud: Cloud, call: Call) -> Answer:
    found = []
    for made in cloud.in_compartment("instance_pool", call.asked("compartmentId")):
        wire = {**_seen(cloud, made), "availabilityDomains": [AVAILABILITY_DOMAIN]}
        found.append(Resource(made.kind, made.id, wire))
    return listed(call, found, "displayName", "lifecycleState")


@serves(f"{_CLIENT}.list_instance_pool_instances")
def _instances(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.asked("compartmentId"))
    pool = cloud.need("instance_pool", call.path["instancePoolId"])
    return page(call, [_member(pool, one) for one in members(cloud, pool.id)])


def _member(pool: Resource, instance: Resource) -> JsonObject:
    return {
        **instance.wire,
        "instanceConfigurationId": pool.wire["instanceConfigurationId"],
        "instancePoolId": pool.id,
        "lifecycleState": "ACTIVE",
        "state": instance.wire["lifecycleState"].title(),
    }


@serves(f"{_CLIENT}.get_instance_pool_instance")
def _instance(cloud: Cloud, call: Call) -> Answer:
    pool = cloud.need("instance_pool", call.path["instancePoolId"])
    instance = cloud.need("instance", call.path["instanceId"])
    kind = str(call.operation.response)
    return Answer(body=projected(_member(pool, instance), kind, call.operation.types))


@serves(f"{_CLIENT}.update_instance_pool")
def _update(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance_pool", call.path["instancePoolId"])
    call.must_match(made)
    _need_steady(made)
    asked = projected(call.body, "InstancePool", call.operation.types)
    if "instanceConfigurationId" in asked:
        _need_configuration(cloud, asked["instanceConfigurationId"])
    made.wire.update(asked)
    if "size" in asked:
        _size(asked["size"])
        made.wire["lifecycleState"] = "SCALING"
        _scale(cloud, made)
    cloud.state.put(made)
    cloud.record(call, made.id, f"updated: {', '.join(sorted(asked))}")
    return Answer(body=_seen(cloud, made), headers={"etag": made.etag})


def _need_steady(made: Resource) -> None:
    if made.wire["lifecycleState"] not in {"RUNNING", "STOPPED"}:
        raise incorrect_state(f"The instance pool is {made.wire['lifecycleState']}")


def _scale(cloud: Cloud, made: Resource) -> None:
    """Begin to launch what is missing and to terminate what is too much, the oldest first."""
    living = members(cloud, made.id)
    missing = made.wire["size"] - len(living)
    configuration = _need_configuration(cloud, made.wire["instanceConfigurationId"])
    for _ in range(missing):
        details = configuration.wire["instanceDetails"].get("launchDetails") or {}
        types = operation("core.ComputeClient.launch_instance").types
        asked = projected(details, "LaunchInstanceDetails", types)
        asked = {"compartmentId": made.wire["compartmentId"], "shape": "VM.Standard.E4.Flex", **asked}
        instance = compute.launch(cloud, asked)
        instance.wire["instanceConfigurationId"] = configuration.id
        instance.hidden["pool"] = made.id
        cloud.state.put(instance)
    for instance in living[: max(0, -missing)]:
        compute.terminate(cloud, instance)
    cloud.later(_SCALE_SECONDS, "instance_pool.scaled", made.id)


@step("instance_pool.scaled")
def _scaled(cloud: Cloud, id: str, data: JsonObject) -> None:
    made = cloud.need("instance_pool", id)
    for instance in members(cloud, id):
        if instance.wire["lifecycleState"] == "PROVISIONING":
            compute.provisioned(cloud, instance)
    _turn(cloud, made, "RUNNING")


def _turn(cloud: Cloud, made: Resource, state: str) -> None:
    made.wire["lifecycleState"] = state
    cloud.state.put(made)
    cloud.record(None, made.id, f"is {state}")


@serves(*(f"{_CLIENT}.{action}_instance_pool" for action in _POWER))
def _power(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance_pool", call.path["instancePoolId"])
    call.must_match(made)
    _need_steady(made)
    action, during, after = _POWER[call.operation.name.rsplit(".", 1)[1].split("_")[0]]
    for instance in members(cloud, made.id):
        if compute.allows(instance, action):
            compute.act(cloud, instance, action)
    made.wire["lifecycleState"] = during
    cloud.state.put(made)
    cloud.later(_POWER_SECONDS, "instance_pool.turned", made.id, state=after)
    cloud.record(call, made.id, f"{action} accepted")
    return Answer(body=_seen(cloud, made), headers={"etag": made.etag})


@step("instance_pool.turned")
def _turned(cloud: Cloud, id: str, data: JsonObject) -> None:
    _turn(cloud, cloud.need("instance_pool", id), data["state"])


@serves(f"{_CLIENT}.detach_instance_pool_instance")
def _detach(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance_pool", call.path["instancePoolId"])
    _need_steady(made)
    instance = cloud.state.get("instance", call.body["instanceId"])
    if instance is None or instance.hidden.get("pool") != made.id:
        raise related_not_found(call.body["instanceId"])
    instance.hidden["pool"] = None
    cloud.state.put(instance)
    if call.body.get("isAutoTerminate"):
        compute.terminate(cloud, instance)
    if call.body.get("isDecrementSize"):
        made.wire["size"] -= 1
    made.wire["lifecycleState"] = "SCALING"
    cloud.state.put(made)
    _scale(cloud, made)
    cloud.record(call, made.id, f"detached {instance.id}")
    return Answer(status=202)


@serves(f"{_CLIENT}.terminate_instance_pool")
def _terminate(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance_pool", call.path["instancePoolId"])
    call.must_match(made)
    for instance in members(cloud, made.id):
        compute.terminate(cloud, instance)
    made.wire["lifecycleState"] = "TERMINATING"
    cloud.state.put(made)
    cloud.later(_POWER_SECONDS, "instance_pool.turned", made.id, state="TERMINATED")
    cloud.record(call, made.id, "terminate accepted")
    return Answer(status=204)
