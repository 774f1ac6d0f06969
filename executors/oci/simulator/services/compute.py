"""Compute instances, their power actions, console histories and addresses.

Life cycle: https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/restartinginstance.htm
"""

from __future__ import annotations

from executors.oci.simulator import network, work, workloads
from executors.oci.simulator.cloud import AVAILABILITY_DOMAIN, FAULT_DOMAIN, REGION, Cloud
from executors.oci.simulator.refusals import incorrect_state, invalid_parameter, missing_parameter, related_not_found
from executors.oci.simulator.sdk import operation
from executors.oci.simulator.serving import Answer, Call, listed, page, serves, shown, step
from executors.oci.simulator.shapes import projected
from executors.oci.simulator.state import Resource
from executors.oci.simulator.work import Work
from uici.model.base import JsonObject

_CLIENT = "core.ComputeClient"
_LAUNCH_SECONDS = 40.0
_POWER_SECONDS = 20.0
_SOFT_SECONDS = 900.0
"""So long the service waits for an operating system that does not shut down."""
_HISTORY_SECONDS = 5.0
_VISIBLE_SECONDS = 3600.0
_ACTIONS = {
    "START": ("STOPPED", "STARTING"),
    "STOP": ("RUNNING", "STOPPING"),
    "SOFTSTOP": ("RUNNING", "STOPPING"),
    "RESET": ("RUNNING", "STOPPING"),
    "SOFTRESET": ("RUNNING", "STOPPING"),
}
"""The state that an action needs, and the one that it begins with."""


@serves(f"{_CLIENT}.list_instances")
def _list(cloud: Cloud, call: Call) -> Answer:
    found = cloud.in_compartment("instance", call.asked("compartmentId"))
    return listed(call, found, "displayName", "lifecycleState", "availabilityDomain")


@serves(f"{_CLIENT}.get_instance")
def _get(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need("instance", call.path["instanceId"]))


@serves(f"{_CLIENT}.launch_instance")
def _launch(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.body["compartmentId"])
    if not call.body.get("shape"):
        raise missing_parameter("shape")
    made = launch(cloud, call.body)
    cloud.record(call, made.id, "launch accepted")
    kind = "coreservicesworkrequest"
    id = work.begin(cloud, call, "compute.launch_instance", made, kind=kind, entity="instance", seconds=_LAUNCH_SECONDS)
    return Answer(body=made.wire, headers={"etag": made.etag, "opc-work-request-id": id}, created=made.id)


def launch(cloud: Cloud, asked: JsonObject) -> Resource:
    """A new instance, still being provisioned. Its metadata has `port` when its program listens on another one."""
    made = Resource("instance", cloud.new_id("instance"), {})
    vnic_asked = dict(asked.get("createVnicDetails") or {})
    vnic_asked.setdefault("subnetId", asked.get("subnetId") or cloud.state.fact("subnet"))
    vnic = network.add_vnic(cloud, asked["compartmentId"], vnic_asked, made.id)
    metadata = asked.get("metadata") or {}
    types = operation(f"{_CLIENT}.get_instance").types
    made.wire = {
        **projected(asked, "Instance", types),
        "id": made.id,
        "availabilityDomain": asked.get("availabilityDomain") or AVAILABILITY_DOMAIN,
        "displayName": asked.get("displayName") or f"instance-{made.id[-6:]}",
        "faultDomain": asked.get("faultDomain") or FAULT_DOMAIN,
        "lifecycleState": "PROVISIONING",
        "region": REGION,
        "shape": asked["shape"],
        "shapeConfig": projected(asked.get("shapeConfig") or {}, "InstanceShapeConfig", types),
        "timeCreated": cloud.moment(),
    }
    image = (asked.get("sourceDetails") or {}).get("imageId") or asked.get("imageId") or "ocid1.image.oc1.phx.simulated"
    made.wire["imageId"] = image
    made.hidden.update(
        program={
            "image": str(metadata.get("image", image)),
            "environment": metadata,
            "address": vnic.wire["privateIp"],
            "port": int(metadata.get("port", network.DEFAULT_PORT)),
        },
        vnic=vnic.id,
    )
    cloud.state.put(made)
    return made


@work.work("compute.launch_instance")
def _launched(cloud: Cloud, done: Work) -> None:
    made = cloud.need("instance", done.resource)
    if done.failure:
        _turn(cloud, made, "TERMINATED")
        return
    provisioned(cloud, made)


def provisioned(cloud: Cloud, made: Resource) -> None:
    """A new instance begins to run."""
    workloads.begin(cloud, made)
    _turn(cloud, made, "RUNNING")


@serves(f"{_CLIENT}.update_instance")
def _update(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance", call.path["instanceId"])
    call.must_match(made)
    for name, value in projected(call.body, "Instance", call.operation.types).items():
        merges = isinstance(value, dict) and name == "shapeConfig"
        made.wire[name] = {**made.wire.get(name, {}), **value} if merges else value
    if "metadata" in call.body:
        made.hidden["program"]["environment"] = call.body["metadata"]
    cloud.state.put(made)
    cloud.record(call, made.id, "updated")
    return shown(made)


@serves(f"{_CLIENT}.terminate_instance")
def _terminate(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance", call.path["instanceId"])
    call.must_match(made)
    terminate(cloud, made)
    cloud.record(call, made.id, "terminate accepted")
    return Answer(status=204)


def terminate(cloud: Cloud, made: Resource) -> None:
    """An instance begins to go."""
    if made.wire["lifecycleState"] in {"TERMINATING", "TERMINATED"}:
        raise incorrect_state(f"The instance is {made.wire['lifecycleState']}")
    _turn(cloud, made, "TERMINATING")
    cloud.later(_POWER_SECONDS, "instance.turned", made.id, states=["TERMINATED"])


@serves(f"{_CLIENT}.instance_action")
def _action(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("instance", call.path["instanceId"])
    call.must_match(made)
    act(cloud, made, str(call.asked("action")))
    cloud.record(call, made.id, f"{call.asked('action')} accepted")
    return shown(made)


def allows(made: Resource, action: str) -> bool:
    """Whether an action can be begun in the instance's state."""
    return bool(made.wire["lifecycleState"] == _ACTIONS[action][0])


def act(cloud: Cloud, made: Resource, action: str) -> None:
    """Begin a power action. A hanging system hears no soft one: after a quarter of an hour it is powered off."""
    if action not in _ACTIONS:
        raise invalid_parameter(f"action must be one of {', '.join(_ACTIONS)}, not {action}")
    needed, first = _ACTIONS[action]
    state = made.wire["lifecycleState"]
    if state != needed:
        raise incorrect_state(f"The instance is {state}; {action} needs {needed}")
    states = ["RUNNING"] if action == "START" else ["STOPPED"]
    if action.endswith("RESET"):
        states = ["STARTING", "RUNNING"]
    deaf = action.startswith("SOFT") and workloads.condition(cloud, made) == "hang"
    _turn(cloud, made, first)
    cloud.later(_SOFT_SECONDS if deaf else _POWER_SECONDS, "instance.turned", made.id, states=states)


@step("instance.turned")
def _turned(cloud: Cloud, id: str, data: JsonObject) -> None:
    made = cloud.need("instance", id)
    state, *rest = data["states"]
    if workloads.is_running(made):
        workloads.end(cloud, made, 0)
    if state == "RUNNING":
        workloads.begin(cloud, made)
    if state == "TERMINATED":
        network.remove_vnic(cloud, made.hidden["vnic"])
        cloud.later(_VISIBLE_SECONDS, "instance.forgotten", id)
    if rest:
        cloud.later(_POWER_SECONDS, "instance.turned", id, states=rest)
    _turn(cloud, made, state)
    cloud.record(None, id, f"is {state}")


@step("instance.forgotten")
def _forgotten(cloud: Cloud, id: str, data: JsonObject) -> None:
    cloud.state.remove(id)


@step("instance.program_ended")
def _program_ended(cloud: Cloud, id: str, data: JsonObject) -> None:
    """A machine goes on when its program ends; nobody starts the program again but a new start of the machine."""


def _turn(cloud: Cloud, made: Resource, state: str) -> None:
    made.wire["lifecycleState"] = state
    cloud.state.put(made)


@serves(f"{_CLIENT}.capture_console_history")
def _capture(cloud: Cloud, call: Call) -> Answer:
    instance = cloud.state.get("instance", call.body["instanceId"])
    if instance is None:
        raise related_not_found(call.body["instanceId"])
    made = Resource("console_history", cloud.new_id("consolehistory"), {})
    made.wire = {
        "id": made.id,
        "availabilityDomain": instance.wire["availabilityDomain"],
        "compartmentId": instance.wire["compartmentId"],
        "displayName": call.body.get("displayName") or f"console-history-{made.id[-6:]}",
        "instanceId": instance.id,
        "lifecycleState": "REQUESTED",
        "timeCreated": cloud.moment(),
    }
    cloud.state.put(made)
    cloud.later(_HISTORY_SECONDS, "console_history.captured", made.id)
    cloud.record(call, made.id, "console history requested")
    return Answer(body=made.wire, headers={"etag": made.etag}, created=made.id)


@step("console_history.captured")
def _captured(cloud: Cloud, id: str, data: JsonObject) -> None:
    made = cloud.need("console_history", id)
    instance = cloud.need("instance", made.wire["instanceId"])
    lines = [*instance.hidden.get("previous", []), *instance.hidden.get("log", [])]
    made.hidden["content"] = "".join(f"{line}\n" for line in lines)
    made.wire["lifecycleState"] = "SUCCEEDED"
    cloud.state.put(made)


@serves(f"{_CLIENT}.get_console_history")
def _get_history(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need("console_history", call.path["instanceConsoleHistoryId"]))


@serves(f"{_CLIENT}.list_console_histories")
def _histories(cloud: Cloud, call: Call) -> Answer:
    found = cloud.in_compartment("console_history", call.asked("compartmentId"))
    return listed(call, found, "instanceId", "lifecycleState", "availabilityDomain")


@serves(f"{_CLIENT}.get_console_history_content")
def _content(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("console_history", call.path["instanceConsoleHistoryId"])
    if made.wire["lifecycleState"] != "SUCCEEDED":
        raise incorrect_state(f"The console history is {made.wire['lifecycleState']}")
    content = made.hidden["content"].encode()
    offset, length = call.whole("offset", 0), call.whole("length", 10240)
    left = max(0, len(content) - offset - length)
    return Answer(body=content[offset : offset + length], headers={"opc-bytes-remaining": str(left)})


@serves(f"{_CLIENT}.delete_console_history")
def _delete_history(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("console_history", call.path["instanceConsoleHistoryId"])
    call.must_match(made)
    cloud.state.remove(made.id)
    cloud.record(call, made.id, "deleted")
    return Answer(status=204)


@serves(f"{_CLIENT}.list_vnic_attachments")
def _attachments(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.asked("compartmentId"))
    found = []
    for instance in cloud.in_compartment("instance", call.asked("compartmentId")):
        if call.asked("instanceId") in {None, instance.id}:
            found.append(_attachment(cloud, instance))
    return page(call, found)


def _attachment(cloud: Cloud, instance: Resource) -> JsonObject:
    vnic = cloud.need("vnic", instance.hidden["vnic"])
    return {
        "id": vnic.id.replace(".vnic.", ".vnicattachment."),
        "availabilityDomain": vnic.wire["availabilityDomain"],
        "compartmentId": vnic.wire["compartmentId"],
        "instanceId": instance.id,
        "lifecycleState": "ATTACHED" if vnic.wire["lifecycleState"] == "AVAILABLE" else "DETACHED",
        "subnetId": vnic.wire["subnetId"],
        "timeCreated": vnic.wire["timeCreated"],
        "vnicId": vnic.id,
    }


@serves("core.VirtualNetworkClient.get_vnic")
def _vnic(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need("vnic", call.path["vnicId"]))
