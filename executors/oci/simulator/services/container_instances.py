"""Container Instances: https://docs.oracle.com/en-us/iaas/Content/container-instances/home.htm."""

from __future__ import annotations

from executors.oci.simulator import network, work, workloads
from executors.oci.simulator.cloud import AVAILABILITY_DOMAIN, FAULT_DOMAIN, Cloud
from executors.oci.simulator.refusals import incorrect_state, invalid_parameter, limit_exceeded
from executors.oci.simulator.sdk import operation
from executors.oci.simulator.serving import Answer, Call, listed, page, serves, shown, step
from executors.oci.simulator.shapes import projected
from executors.oci.simulator.state import Resource
from executors.oci.simulator.work import Work, WorkFailedError
from uici.model.base import JsonObject

_CLIENT = "container_instances.ContainerInstanceClient"
_INSTANCE = "container_instance"
_LOG_BYTES = 256 * 1024
_LIMIT = 100
_VISIBLE_SECONDS = 3600.0
"""So long a deleted one is still shown."""
_SHAPES = ("CI.Standard.E4.Flex", "CI.Standard.E3.Flex", "CI.Standard.A1.Flex")
_SECONDS = {"create": 40.0, "delete": 20.0, "start": 30.0, "stop": 20.0, "restart": 40.0, "update": 5.0}


@serves(f"{_CLIENT}.list_container_instances")
def _list(cloud: Cloud, call: Call) -> Answer:
    found = cloud.in_compartment(_INSTANCE, call.asked("compartmentId"))
    return listed(call, found, "displayName", "lifecycleState", "availabilityDomain")


@serves(f"{_CLIENT}.get_container_instance")
def _get(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need(_INSTANCE, call.path["containerInstanceId"]))


@serves(f"{_CLIENT}.list_containers")
def _list_containers(cloud: Cloud, call: Call) -> Answer:
    found = cloud.in_compartment("container", call.asked("compartmentId"))
    return listed(call, found, "containerInstanceId", "displayName", "lifecycleState", "availabilityDomain")


@serves(f"{_CLIENT}.get_container")
def _get_container(cloud: Cloud, call: Call) -> Answer:
    container = cloud.need("container", call.path["containerId"])
    for check in container.wire.get("healthChecks", []):
        check["status"] = _health(cloud, container)
    return shown(container)


def _health(cloud: Cloud, container: Resource) -> str:
    if not workloads.is_running(container):
        return "UNKNOWN"
    return "HEALTHY" if workloads.is_well(cloud, container) else "UNHEALTHY"


@serves(f"{_CLIENT}.retrieve_logs")
def _retrieve_logs(cloud: Cloud, call: Call) -> Answer:
    hidden = cloud.need("container", call.path["containerId"]).hidden
    lines = hidden.get("previous" if call.asked("isPrevious") == "true" else "log", [])
    return Answer(body="".join(f"{line}\n" for line in lines).encode()[-_LOG_BYTES:])


@serves(f"{_CLIENT}.list_container_instance_shapes")
def _shapes(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.asked("compartmentId"))
    return page(call, [{"name": name, "processorDescription": "simulated"} for name in _SHAPES])


@serves(f"{_CLIENT}.create_container_instance")
def _create(cloud: Cloud, call: Call) -> Answer:
    asked = call.body
    cloud.need_compartment(asked["compartmentId"])
    if asked["availabilityDomain"] != AVAILABILITY_DOMAIN:
        raise invalid_parameter(f"availabilityDomain must be {AVAILABILITY_DOMAIN}")
    if asked["shape"] not in _SHAPES:
        raise invalid_parameter(f"shape must be one of {', '.join(_SHAPES)}")
    living = [one for one in cloud.state.find(_INSTANCE) if one.wire["lifecycleState"] != "DELETED"]
    limit = cloud.state.fact("container_instance_limit")
    if len(living) >= (_LIMIT if limit is None else limit):
        raise limit_exceeded("The limit of container instances for this tenancy has been reached")
    made = Resource(_INSTANCE, cloud.new_id("computecontainerinstance"), {})
    vnics = [network.add_vnic(cloud, asked["compartmentId"], vnic, made.id) for vnic in asked["vnics"]]
    containers = [_new_container(cloud, call, made.id, one, vnics[0]) for one in asked["containers"]]
    shape = asked["shapeConfig"]
    made.wire = {
        **_asked(call, "ContainerInstance", "containers", "vnics", "shapeConfig"),
        "id": made.id,
        "displayName": asked.get("displayName") or f"container-instance-{made.id[-6:]}",
        "faultDomain": asked.get("faultDomain") or FAULT_DOMAIN,
        "lifecycleState": "CREATING",
        "containers": [{"containerId": one.id, "displayName": one.wire["displayName"]} for one in containers],
        "containerCount": len(containers),
        "volumeCount": len(asked.get("volumes") or []),
        "timeCreated": cloud.moment(),
        "timeUpdated": cloud.moment(),
        "shapeConfig": {
            "ocpus": shape["ocpus"],
            "memoryInGBs": shape.get("memoryInGBs") or 16.0 * shape["ocpus"],
            "processorDescription": "simulated",
            "networkingBandwidthInGbps": 1.0,
        },
        "vnics": [{"vnicId": vnic.id} for vnic in vnics],
        "containerRestartPolicy": asked.get("containerRestartPolicy") or "ALWAYS",
    }
    memory = made.wire["shapeConfig"]["memoryInGBs"]
    for one in containers:
        limit = one.wire.get("resourceConfig", {}).get("memoryLimitInGBs")
        one.hidden["program"]["memory_gb"] = min(limit or memory, memory)
        cloud.state.put(one)
    cloud.state.put(made)
    cloud.record(call, made.id, "create accepted")
    headers = {"etag": made.etag, "opc-work-request-id": _begin(cloud, call, made, "create")}
    return Answer(body=made.wire, headers=headers, created=made.id)


def _asked(call: Call, kind: str, *without: str) -> JsonObject:
    """What of the request's body is shown of the resource unchanged."""
    kept = {name: value for name, value in call.body.items() if name not in without}
    shown: JsonObject = projected(kept, kind, call.operation.types)
    return shown


def _new_container(cloud: Cloud, call: Call, instance: str, asked: JsonObject, vnic: Resource) -> Resource:
    made = Resource("container", cloud.new_id("computecontainer"), {})
    environment = asked.get("environmentVariables") or {}
    made.wire = {
        **projected(asked, "Container", operation(f"{_CLIENT}.get_container").types),
        "id": made.id,
        "displayName": asked.get("displayName") or f"container-{made.id[-6:]}",
        "compartmentId": call.body["compartmentId"],
        "availabilityDomain": AVAILABILITY_DOMAIN,
        "faultDomain": FAULT_DOMAIN,
        "lifecycleState": "CREATING",
        "timeCreated": cloud.moment(),
        "timeUpdated": cloud.moment(),
        "containerInstanceId": instance,
        "containerRestartAttemptCount": 0,
    }
    made.hidden["program"] = {
        "image": asked["imageUrl"],
        "environment": environment,
        "address": vnic.wire["privateIp"],
        "port": int(environment.get("PORT", network.DEFAULT_PORT)),
        "killed_after": _patience(asked.get("healthChecks") or []),
    }
    return made


def _patience(checks: list[JsonObject]) -> float | None:
    """After how many seconds the platform kills a container that is unwell: KILL is a check's default action."""
    killing = [check for check in checks if check.get("failureAction") in {None, "KILL"}]
    return min(
        (float((one.get("intervalInSeconds") or 10) * (one.get("failureThreshold") or 3)) for one in killing),
        default=None,
    )


@serves(f"{_CLIENT}.update_container_instance")
def _update(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need(_INSTANCE, call.path["containerInstanceId"])
    call.must_match(made)
    _need_state(made, "ACTIVE", "INACTIVE")
    made.wire.update({name: value for name, value in call.body.items() if value is not None})
    return _accepted(cloud, call, made, "update", before=made.wire["lifecycleState"])


@serves(f"{_CLIENT}.update_container")
def _update_container(cloud: Cloud, call: Call) -> Answer:
    container = cloud.need("container", call.path["containerId"])
    call.must_match(container)
    container.wire.update({name: value for name, value in call.body.items() if value is not None})
    cloud.state.put(container)
    made = cloud.need(_INSTANCE, container.wire["containerInstanceId"])
    return _accepted(cloud, call, made, "update", before=made.wire["lifecycleState"])


@serves(f"{_CLIENT}.delete_container_instance")
def _delete(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need(_INSTANCE, call.path["containerInstanceId"])
    call.must_match(made)
    _need_state(made, "ACTIVE", "INACTIVE", "FAILED")
    return _accepted(cloud, call, made, "delete", state="DELETING")


@serves(f"{_CLIENT}.start_container_instance")
def _start(cloud: Cloud, call: Call) -> Answer:
    return _power(cloud, call, "start", "INACTIVE")


@serves(f"{_CLIENT}.stop_container_instance")
def _stop(cloud: Cloud, call: Call) -> Answer:
    return _power(cloud, call, "stop", "ACTIVE")


@serves(f"{_CLIENT}.restart_container_instance")
def _restart(cloud: Cloud, call: Call) -> Answer:
    return _power(cloud, call, "restart", "ACTIVE")


def _power(cloud: Cloud, call: Call, action: str, allowed: str) -> Answer:
    made = cloud.need(_INSTANCE, call.path["containerInstanceId"])
    call.must_match(made)
    _need_state(made, allowed)
    return _accepted(cloud, call, made, action)


def _need_state(made: Resource, *allowed: str) -> None:
    state = made.wire["lifecycleState"]
    if state not in allowed:
        raise incorrect_state(f"The container instance is {state}; this needs {' or '.join(allowed)}")


def _accepted(
    cloud: Cloud, call: Call, made: Resource, action: str, state: str = "UPDATING", before: str | None = None
) -> Answer:
    before = before or made.wire["lifecycleState"]
    made.wire.update(lifecycleState=state, timeUpdated=cloud.moment())
    cloud.state.put(made)
    cloud.record(call, made.id, f"{action} accepted")
    return Answer(status=202, headers={"opc-work-request-id": _begin(cloud, call, made, action, before=before)})


def _begin(cloud: Cloud, call: Call, made: Resource, action: str, **data: object) -> str:
    return work.begin(
        cloud,
        call,
        f"container_instances.{action}_container_instance",
        made,
        kind="computecontainerworkrequest",
        entity="containerInstance",
        seconds=_SECONDS[action],
        **data,
    )


@work.work("container_instances.create_container_instance")
def _created(cloud: Cloud, done: Work) -> None:
    made = cloud.need(_INSTANCE, done.resource)
    unpulled = [one for one in containers_of(cloud, made) if not workloads.can_start(cloud, one.wire["imageUrl"])]
    if done.failure or unpulled:
        why = done.failure or WorkFailedError("ImagePullFailed", f"Failed to pull {unpulled[0].wire['imageUrl']}")
        _settle(cloud, made, "FAILED", why.message)
        for one in containers_of(cloud, made):
            _settle(cloud, one, "FAILED", why.message)
        raise why
    _run_all(cloud, made)


@work.work("container_instances.start_container_instance")
def _started(cloud: Cloud, done: Work) -> None:
    made = cloud.need(_INSTANCE, done.resource)
    if done.failure:
        _settle(cloud, made, done.data["before"], done.failure.message)
        return
    _run_all(cloud, made)


@work.work("container_instances.restart_container_instance")
def _restarted(cloud: Cloud, done: Work) -> None:
    made = cloud.need(_INSTANCE, done.resource)
    if not done.failure:
        _end_all(cloud, made, "INACTIVE")
    _started(cloud, done)


@work.work("container_instances.stop_container_instance")
def _stopped(cloud: Cloud, done: Work) -> None:
    made = cloud.need(_INSTANCE, done.resource)
    if done.failure:
        _settle(cloud, made, done.data["before"], done.failure.message)
        return
    _end_all(cloud, made, "INACTIVE")
    _settle(cloud, made, "INACTIVE")


@work.work("container_instances.update_container_instance")
def _updated(cloud: Cloud, done: Work) -> None:
    _settle(cloud, cloud.need(_INSTANCE, done.resource), done.data["before"])


@work.work("container_instances.delete_container_instance")
def _deleted(cloud: Cloud, done: Work) -> None:
    made = cloud.need(_INSTANCE, done.resource)
    if done.failure:
        _settle(cloud, made, done.data["before"], done.failure.message)
        return
    _end_all(cloud, made, "DELETED")
    _settle(cloud, made, "DELETED")
    for vnic in made.wire["vnics"]:
        network.remove_vnic(cloud, vnic["vnicId"])
    cloud.later(_VISIBLE_SECONDS, "container_instance.forgotten", made.id)


@step("container_instance.forgotten")
def _forgotten(cloud: Cloud, id: str, data: JsonObject) -> None:
    for one in containers_of(cloud, cloud.need(_INSTANCE, id)):
        cloud.state.remove(one.id)
    cloud.state.remove(id)


def containers_of(cloud: Cloud, made: Resource) -> list[Resource]:
    """The containers of an instance."""
    return [cloud.need("container", one["containerId"]) for one in made.wire["containers"]]


def _settle(cloud: Cloud, resource: Resource, state: str, details: str = "") -> None:
    resource.wire.update(lifecycleState=state, timeUpdated=cloud.moment(), lifecycleDetails=details or None)
    cloud.state.put(resource)


def _run_all(cloud: Cloud, made: Resource) -> None:
    for one in containers_of(cloud, made):
        workloads.begin(cloud, one)
        one.wire.update(containerRestartAttemptCount=0, exitCode=None, timeTerminated=None)
        _settle(cloud, one, "ACTIVE")
    _settle(cloud, made, "ACTIVE")


def _end_all(cloud: Cloud, made: Resource, state: str) -> None:
    for one in containers_of(cloud, made):
        if workloads.is_running(one):
            workloads.end(cloud, one, 0)
        workloads.heal(one, "disk_full")  # its storage is gone with it
        _settle(cloud, one, state)


@step("container.program_ended")
def _program_ended(cloud: Cloud, id: str, data: JsonObject) -> None:
    """What the restart policy says of an ended program.

    The policies: https://docs.oracle.com/en-us/iaas/Content/container-instances/restart-policies.htm
    """
    container = cloud.need("container", id)
    made = cloud.need(_INSTANCE, container.wire["containerInstanceId"])
    container.wire.update(exitCode=data["code"], timeTerminated=cloud.moment())
    reason = "OOMKilled" if data.get("oom") else f"exited with code {data['code']}"
    _settle(cloud, container, "INACTIVE", reason)
    policy = made.wire["containerRestartPolicy"]
    if policy == "ALWAYS" or (policy == "ON_FAILURE" and data["code"] != 0):
        workloads.begin_again(cloud, container, container.wire["containerRestartAttemptCount"])
    elif all(one.wire["lifecycleState"] == "INACTIVE" for one in containers_of(cloud, made)):
        _settle(cloud, made, "INACTIVE", "all containers have ended")


@step("container.program_begins")
def _program_begins(cloud: Cloud, id: str, data: JsonObject) -> None:
    container = cloud.need("container", id)
    if cloud.need(_INSTANCE, container.wire["containerInstanceId"]).wire["lifecycleState"] != "ACTIVE":
        return
    ailments = container.hidden.get("ailments", [])
    workloads.begin(cloud, container)
    for ailment in ailments:
        if ailment["cure"] == "restart":  # of the instance: the platform's own new start does not help
            workloads.ail(cloud, container, **ailment)
    container.wire["containerRestartAttemptCount"] += 1
    _settle(cloud, container, "ACTIVE")
    cloud.record(None, id, "program begun again")
