"""The Compute Instance Agent's Run Command.

States of a command and its output: https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/runningcommands.htm
"""

from __future__ import annotations

import hashlib

from executors.oci.simulator import commands, workloads
from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.refusals import invalid_parameter, not_found, related_not_found
from executors.oci.simulator.serving import Answer, Call, page, serves, shown, step
from executors.oci.simulator.shapes import projected
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

_CLIENT = "compute_instance_agent.ComputeInstanceAgentClient"
_DELIVERY_SECONDS = 10.0
_RUN_SECONDS = 10.0
_OUTPUT_BYTES = 1024
"""Of output as text; the rest is cut off."""


@serves(f"{_CLIENT}.create_instance_agent_command")
def _create(cloud: Cloud, call: Call) -> Answer:
    asked = call.body
    cloud.need_compartment(asked["compartmentId"])
    instance = cloud.state.get("instance", asked["target"].get("instanceId") or "")
    if instance is None:
        raise related_not_found(str(asked["target"].get("instanceId")))
    source = asked["content"]["source"]
    if source["sourceType"] != "TEXT":
        raise invalid_parameter("the simulator runs commands given as TEXT only")
    made = Resource("agent_command", cloud.new_id("instanceagentcommand"), {})
    made.wire = {
        **asked,
        "id": made.id,
        "displayName": asked.get("displayName") or f"command-{made.id[-6:]}",
        "timeCreated": cloud.moment(),
        "timeUpdated": cloud.moment(),
        "isCanceled": False,
    }
    made.hidden["execution"] = {
        "instanceAgentCommandId": made.id,
        "instanceId": instance.id,
        "deliveryState": "PENDING",
        "lifecycleState": "ACCEPTED",
        "timeCreated": cloud.moment(),
        "timeUpdated": cloud.moment(),
        "sequenceNumber": 1,
        "displayName": made.wire["displayName"],
        "content": {"outputType": "TEXT", "exitCode": 0},
    }
    cloud.state.put(made)
    cloud.later(_DELIVERY_SECONDS, "agent_command.delivered", made.id)
    limit = float(asked["executionTimeOutInSeconds"])
    cloud.later(limit or _RUN_SECONDS, "agent_command.too_late", made.id)
    cloud.record(call, made.id, "command accepted")
    return Answer(body=made.wire, headers={"etag": made.etag}, created=made.id)


@step("agent_command.delivered")
def _delivered(cloud: Cloud, id: str, data: JsonObject) -> None:
    made = cloud.need("agent_command", id)
    instance = cloud.state.get("instance", made.wire["target"]["instanceId"])
    alive = instance is not None and instance.wire["lifecycleState"] == "RUNNING"
    if made.wire["isCanceled"] or instance is None or not alive or workloads.condition(cloud, instance) == "hang":
        return
    _change(cloud, made, deliveryState="ACKED", lifecycleState="IN_PROGRESS")
    cloud.later(_RUN_SECONDS, "agent_command.ended", id)


@step("agent_command.ended")
def _ended(cloud: Cloud, id: str, data: JsonObject) -> None:
    made = cloud.need("agent_command", id)
    if made.wire["isCanceled"] or made.hidden["execution"]["lifecycleState"] != "IN_PROGRESS":
        return
    instance = cloud.need("instance", made.wire["target"]["instanceId"])
    code, output = commands.run(cloud, instance, made.wire["content"]["source"]["text"])
    cloud.state.put(instance)
    text = output.encode()[:_OUTPUT_BYTES].decode(errors="ignore")
    content = {
        "outputType": "TEXT",
        "exitCode": code,
        "message": "Succeeded" if code == 0 else f"The command ended with exit code {code}",
        "text": text,
        "textSha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    _change(cloud, made, lifecycleState="SUCCEEDED" if code == 0 else "FAILED", content=content)
    cloud.record(None, instance.id, f"command ended with exit code {code}")


@step("agent_command.too_late")
def _too_late(cloud: Cloud, id: str, data: JsonObject) -> None:
    made = cloud.need("agent_command", id)
    state = made.hidden["execution"]["lifecycleState"]
    if state == "ACCEPTED":
        _change(cloud, made, deliveryState="EXPIRED", lifecycleState="TIMED_OUT")
    elif state == "IN_PROGRESS":
        _change(cloud, made, lifecycleState="TIMED_OUT")


def _change(cloud: Cloud, made: Resource, **changes: object) -> None:
    made.hidden["execution"].update(changes, timeUpdated=cloud.moment())
    cloud.state.put(made)


@serves(f"{_CLIENT}.get_instance_agent_command")
def _get(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need("agent_command", call.path["instanceAgentCommandId"]))


@serves(f"{_CLIENT}.list_instance_agent_commands")
def _list(cloud: Cloud, call: Call) -> Answer:
    found = cloud.in_compartment("agent_command", call.asked("compartmentId"))
    return page(call, [{**made.wire, "instanceAgentCommandId": made.id} for made in found])


@serves(f"{_CLIENT}.get_instance_agent_command_execution")
def _execution(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("agent_command", call.path["instanceAgentCommandId"])
    if call.asked("instanceId") != made.wire["target"]["instanceId"]:
        raise not_found(str(call.asked("instanceId")))
    return Answer(body=made.hidden["execution"], headers={"etag": made.etag})


@serves(f"{_CLIENT}.list_instance_agent_command_executions")
def _executions(cloud: Cloud, call: Call) -> Answer:
    kind = "list[InstanceAgentCommandExecution]"
    found = [
        made.hidden["execution"]
        for made in cloud.in_compartment("agent_command", call.asked("compartmentId"))
        if made.wire["target"]["instanceId"] == call.asked("instanceId")
        and call.asked("lifecycleState") in {None, made.hidden["execution"]["lifecycleState"]}
    ]
    return page(call, projected(found, kind, call.operation.types))


@serves(f"{_CLIENT}.cancel_instance_agent_command")
def _cancel(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("agent_command", call.path["instanceAgentCommandId"])
    call.must_match(made)
    made.wire["isCanceled"] = True
    if made.hidden["execution"]["lifecycleState"] in {"ACCEPTED", "IN_PROGRESS"}:
        made.hidden["execution"].update(lifecycleState="CANCELED", deliveryState="ACKED_CANCELED")
    cloud.state.put(made)
    cloud.record(call, made.id, "command cancelled")
    return Answer(status=202)
