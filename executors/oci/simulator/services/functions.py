"""Functions: applications, functions, their configuration and memory, and their invocation.

Memory sizes: https://docs.oracle.com/en-us/iaas/Content/Functions/Tasks/functionscustomizing.htm
"""

from __future__ import annotations

import json

from executors.oci.simulator import work, workloads
from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.refusals import RefusedError, incorrect_state, invalid_parameter, related_not_found
from executors.oci.simulator.serving import Answer, Call, listed, serves
from executors.oci.simulator.shapes import projected
from executors.oci.simulator.state import Resource
from executors.oci.simulator.work import Work
from uici.model.base import JsonObject

_CLIENT = "functions.FunctionsManagementClient"
_SECONDS = 10.0
_MEMORY = (128, 256, 512, 1024, 2048, 3072)
_KINDS = {"application": "fnapp", "function": "fnfunc"}


@serves(f"{_CLIENT}.create_application")
def _create_application(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.body["compartmentId"])
    return _create(cloud, call, "application", {"shape": "GENERIC_X86"})


@serves(f"{_CLIENT}.create_function")
def _create_function(cloud: Cloud, call: Call) -> Answer:
    application = cloud.state.get("application", call.body["applicationId"])
    if application is None:
        raise related_not_found(call.body["applicationId"])
    _check_memory(call.body)
    defaults = {"compartmentId": application.wire["compartmentId"], "shape": "GENERIC_X86", "timeoutInSeconds": 30}
    return _create(cloud, call, "function", defaults)


def _check_memory(asked: JsonObject) -> None:
    if asked.get("memoryInMBs") not in {None, *_MEMORY}:
        raise invalid_parameter(f"memoryInMBs must be one of {', '.join(map(str, _MEMORY))}")


def _create(cloud: Cloud, call: Call, kind: str, defaults: JsonObject) -> Answer:
    made = Resource(kind, cloud.new_id(_KINDS[kind]), {})
    made.wire = {
        **defaults,
        **projected(call.body, kind.title(), call.operation.types),
        "id": made.id,
        "lifecycleState": "CREATING",
        "timeCreated": cloud.moment(),
        "timeUpdated": cloud.moment(),
    }
    cloud.state.put(made)
    cloud.record(call, made.id, "create accepted")
    headers = {"etag": made.etag, "opc-work-request-id": _begin(cloud, call, made, "create")}
    return Answer(body=_seen(cloud, made), headers=headers, created=made.id)


def _seen(cloud: Cloud, made: Resource) -> JsonObject:
    endpoint = {"invokeEndpoint": cloud.url} if made.kind == "function" else {}
    return {**made.wire, **endpoint}


def _begin(cloud: Cloud, call: Call, made: Resource, action: str, **data: object) -> str:
    return work.begin(
        cloud,
        call,
        f"functions.{action}_{made.kind}",
        made,
        kind="fnworkrequest",
        entity=made.kind,
        seconds=_SECONDS,
        **data,
    )


def _need(cloud: Cloud, call: Call) -> Resource:
    kind = "function" if "functionId" in call.path else "application"
    return cloud.need(kind, call.path[f"{kind}Id"])


@serves(f"{_CLIENT}.get_application", f"{_CLIENT}.get_function")
def _get(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    return Answer(body=_seen(cloud, made), headers={"etag": made.etag})


@serves(f"{_CLIENT}.list_applications")
def _applications(cloud: Cloud, call: Call) -> Answer:
    found = cloud.in_compartment("application", call.asked("compartmentId"))
    return listed(call, found, "displayName", "lifecycleState", "id")


@serves(f"{_CLIENT}.list_functions")
def _functions(cloud: Cloud, call: Call) -> Answer:
    application = cloud.need("application", str(call.asked("applicationId")))
    found = [
        Resource(made.kind, made.id, _seen(cloud, made))
        for made in cloud.state.find("function")
        if made.wire["applicationId"] == application.id
    ]
    return listed(call, found, "displayName", "lifecycleState", "id")


@serves(f"{_CLIENT}.update_application", f"{_CLIENT}.update_function")
def _update(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    call.must_match(made)
    _need_active(made)
    _check_memory(call.body)
    changes = projected(call.body, made.kind.title(), call.operation.types)
    made.wire.update(lifecycleState="UPDATING", timeUpdated=cloud.moment())
    cloud.state.put(made)
    cloud.record(call, made.id, f"update accepted: {', '.join(sorted(changes))}")
    return Answer(status=202, headers={"opc-work-request-id": _begin(cloud, call, made, "update", changes=changes)})


@serves(f"{_CLIENT}.delete_application", f"{_CLIENT}.delete_function")
def _delete(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    call.must_match(made)
    _need_active(made)
    made.wire["lifecycleState"] = "DELETING"
    cloud.state.put(made)
    cloud.record(call, made.id, "delete accepted")
    return Answer(status=202, headers={"opc-work-request-id": _begin(cloud, call, made, "delete")})


def _need_active(made: Resource) -> None:
    if made.wire["lifecycleState"] != "ACTIVE":
        raise incorrect_state(f"The {made.kind} is {made.wire['lifecycleState']}")


@work.work("functions.create_application")
@work.work("functions.create_function")
@work.work("functions.update_application")
@work.work("functions.update_function")
def _done(cloud: Cloud, done: Work) -> None:
    made = cloud.state.any(done.resource)
    if made is None:
        return
    created = "changes" not in done.data
    if not done.failure:
        made.wire.update(done.data.get("changes", {}))
    made.wire["lifecycleState"] = "FAILED" if done.failure and created else "ACTIVE"
    cloud.state.put(made)


@work.work("functions.delete_application")
@work.work("functions.delete_function")
def _deleted(cloud: Cloud, done: Work) -> None:
    made = cloud.state.any(done.resource)
    if made is not None:
        made.wire["lifecycleState"] = "ACTIVE" if done.failure else "DELETED"
        cloud.state.put(made)


@serves("functions.FunctionsInvokeClient.invoke_function")
def _invoke(cloud: Cloud, call: Call) -> Answer:
    """Answer what the function gets and runs with; errors: 502 with what went wrong."""
    made = cloud.need("function", call.path["functionId"])
    _need_active(made)
    config = made.wire.get("config") or {}
    image = str((made.wire.get("sourceDetails") or {}).get("image") or made.wire.get("image") or "")
    if not workloads.can_start(cloud, image):
        raise RefusedError(502, "FunctionInvokeImageNotAvailable", f"Failed to pull function image {image}")
    if float(config.get("MEMORY_DEMAND_MB", 0)) > float(made.wire["memoryInMBs"]):
        raise RefusedError(502, "FunctionInvokeContainerInitFail", "The container ended: out of memory")
    if workloads.fails(cloud, image, config):
        raise RefusedError(502, "FunctionInvokeExecutionFailed", "function failed")
    answer = {"function": made.wire["displayName"], "config": config, "memoryInMBs": made.wire["memoryInMBs"]}
    return Answer(body=json.dumps(answer).encode())
