"""Load balancers: backend sets, backends, their health, and the work requests of their changes.

Drain, offline and health: https://docs.oracle.com/en-us/iaas/Content/Balance/Tasks/managingbackendservers.htm
"""

from __future__ import annotations

from collections.abc import Callable

from executors.oci.simulator import work, workloads
from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.refusals import RefusedError, invalid_parameter, not_found
from executors.oci.simulator.serving import Answer, Call, page, serves, shown
from executors.oci.simulator.state import Resource
from executors.oci.simulator.work import Work
from uici.model.base import JsonObject

_CLIENT = "load_balancer.LoadBalancerClient"
_KIND = "load_balancer"
_CREATE_SECONDS = 40.0
_CHANGE_SECONDS = 10.0
_CHECKED = {
    "well": "OK",
    "hang": "TIMED_OUT",
    "unready": "INVALID_STATUS_CODE",
    "disk_full": "INVALID_STATUS_CODE",
    "dependency_down": "INVALID_STATUS_CODE",
}
"""What the health checker reports of a program in a condition."""


@serves(f"{_CLIENT}.create_load_balancer")
def _create(cloud: Cloud, call: Call) -> Answer:
    asked = call.body
    cloud.need_compartment(asked["compartmentId"])
    made = Resource(_KIND, cloud.new_id("loadbalancer"), {})
    sets = asked.get("backendSets") or {}
    made.wire = {
        "id": made.id,
        **{name: asked[name] for name in ("compartmentId", "displayName", "shapeName", "subnetIds")},
        **{name: asked[name] for name in ("shapeDetails", "isPrivate", "freeformTags") if asked.get(name) is not None},
        "lifecycleState": "CREATING",
        "timeCreated": cloud.moment(),
        "ipAddresses": [{"ipAddress": "127.0.0.1", "isPublic": False}],
        "backendSets": {name: _backend_set(name, one) for name, one in sets.items()},
        "listeners": {name: {"name": name, **one} for name, one in (asked.get("listeners") or {}).items()},
    }
    cloud.state.put(made)
    cloud.record(call, made.id, "create accepted")
    headers = {"opc-work-request-id": _begin(cloud, call, made, "create_load_balancer", _CREATE_SECONDS)}
    return Answer(status=202, headers=headers, created=made.id)


def _backend_set(name: str, asked: JsonObject) -> JsonObject:
    checker = {
        "port": 0,
        "returnCode": 200,
        "retries": 3,
        "timeoutInMillis": 3000,
        "intervalInMillis": 10000,
        "responseBodyRegex": ".*",
        **{key: value for key, value in asked["healthChecker"].items() if value is not None},
    }
    backends = [_backend(one) for one in asked.get("backends") or []]
    return {"name": name, "policy": asked["policy"], "backends": backends, "healthChecker": checker}


def _backend(asked: JsonObject) -> JsonObject:
    given = {key: value for key, value in asked.items() if value is not None}
    defaults = {"weight": 1, "backup": False, "drain": False, "offline": False}
    return {"name": f"{asked['ipAddress']}:{asked['port']}", **defaults, **given}


def _begin(cloud: Cloud, call: Call, made: Resource, name: str, seconds: float, **data: object) -> str:
    return work.begin(
        cloud,
        call,
        f"load_balancer.{name}",
        made,
        kind="loadbalancerworkrequest",
        entity="loadBalancer",
        seconds=seconds,
        **data,
    )


@work.work("load_balancer.create_load_balancer")
def _created(cloud: Cloud, done: Work) -> None:
    made = cloud.need(_KIND, done.resource)
    made.wire["lifecycleState"] = "FAILED" if done.failure else "ACTIVE"
    cloud.state.put(made)


def _need(cloud: Cloud, call: Call) -> Resource:
    return cloud.need(_KIND, call.path["loadBalancerId"])


def _set_of(made: Resource, name: str) -> JsonObject:
    found: JsonObject | None = made.wire["backendSets"].get(name)
    if found is None:
        raise not_found(f"backend set {name}")
    return found


def _backend_of(made: Resource, set_name: str, name: str) -> JsonObject:
    for backend in _set_of(made, set_name)["backends"]:
        if backend["name"] == name:
            return dict(backend)
    raise not_found(f"backend {name}")


def _part(made: Resource, body: object) -> Answer:
    return Answer(body=body, headers={"etag": made.etag})


@serves(f"{_CLIENT}.list_load_balancers")
def _list(cloud: Cloud, call: Call) -> Answer:
    found = cloud.in_compartment(_KIND, call.asked("compartmentId"))
    wanted = call.asked("displayName")
    return page(call, [made.wire for made in found if wanted in {None, made.wire["displayName"]}])


@serves(f"{_CLIENT}.get_load_balancer")
def _get(cloud: Cloud, call: Call) -> Answer:
    return shown(_need(cloud, call))


@serves(f"{_CLIENT}.list_backend_sets")
def _sets(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    return _part(made, list(made.wire["backendSets"].values()))


@serves(f"{_CLIENT}.get_backend_set")
def _get_set(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    return _part(made, _set_of(made, call.path["backendSetName"]))


@serves(f"{_CLIENT}.list_backends")
def _backends(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    return _part(made, _set_of(made, call.path["backendSetName"])["backends"])


@serves(f"{_CLIENT}.get_backend")
def _get_backend(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    return _part(made, _backend_of(made, call.path["backendSetName"], call.path["backendName"]))


@serves(
    f"{_CLIENT}.create_backend",
    f"{_CLIENT}.update_backend",
    f"{_CLIENT}.delete_backend",
    f"{_CLIENT}.update_backend_set",
)
def _change(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    call.must_match(made)
    if made.wire["lifecycleState"] != "ACTIVE":
        raise RefusedError(409, "Conflict", f"The load balancer is {made.wire['lifecycleState']}")
    name = call.operation.name.rsplit(".", 1)[1]
    backend_set = _set_of(made, call.path["backendSetName"])
    if "backendName" in call.path:
        _backend_of(made, call.path["backendSetName"], call.path["backendName"])
    if name == "create_backend" and _backend(call.body)["name"] in {one["name"] for one in backend_set["backends"]}:
        raise invalid_parameter(f"Backend {_backend(call.body)['name']} already exists")
    cloud.record(call, made.id, f"{name} accepted")
    id = _begin(cloud, call, made, name, _CHANGE_SECONDS, path=dict(call.path), body=call.body)
    return Answer(status=202, headers={"opc-work-request-id": id})


def _carried_out(change: Callable[[JsonObject, JsonObject, JsonObject | None], None]) -> work.WorkStep:
    def carry_out(cloud: Cloud, done: Work) -> None:
        if done.failure:
            return
        made = cloud.need(_KIND, done.resource)
        path = done.data["path"]
        change(_set_of(made, path["backendSetName"]), path, done.data["body"])
        cloud.state.put(made)

    return carry_out


def _create_backend(backend_set: JsonObject, path: JsonObject, body: JsonObject | None) -> None:
    backend_set["backends"].append(_backend(body or {}))


def _update_backend(backend_set: JsonObject, path: JsonObject, body: JsonObject | None) -> None:
    for backend in backend_set["backends"]:
        if backend["name"] == path["backendName"]:
            backend.update({key: value for key, value in (body or {}).items() if value is not None})


def _delete_backend(backend_set: JsonObject, path: JsonObject, body: JsonObject | None) -> None:
    backend_set["backends"] = [one for one in backend_set["backends"] if one["name"] != path["backendName"]]


def _update_set(backend_set: JsonObject, path: JsonObject, body: JsonObject | None) -> None:
    backend_set.update(_backend_set(path["backendSetName"], body or {}))


work.work("load_balancer.create_backend")(_carried_out(_create_backend))
work.work("load_balancer.update_backend")(_carried_out(_update_backend))
work.work("load_balancer.delete_backend")(_carried_out(_delete_backend))
work.work("load_balancer.update_backend_set")(_carried_out(_update_set))


def checked(cloud: Cloud, backend: JsonObject) -> str:
    """What the health checker finds at a backend."""
    if backend["offline"]:
        return "OFFLINE"
    for kind in workloads.KINDS:
        for resource in cloud.state.find(kind):
            program = resource.hidden.get("program", {})
            here = (program.get("address"), program.get("port")) == (backend["ipAddress"], backend["port"])
            if here and workloads.is_running(resource):
                return _CHECKED[workloads.condition(cloud, resource)]
    return "CONNECT_FAILED"


def _set_health(cloud: Cloud, backend_set: JsonObject) -> JsonObject:
    found = {backend["name"]: checked(cloud, backend) for backend in backend_set["backends"]}
    critical = [name for name, status in found.items() if status != "OK"]
    status = "OK" if not critical else "CRITICAL" if 2 * len(critical) >= len(found) else "WARNING"
    return {
        "status": status if found else "UNKNOWN",
        "warningStateBackendNames": [],
        "criticalStateBackendNames": critical,
        "unknownStateBackendNames": [],
        "totalBackendCount": len(found),
    }


@serves(f"{_CLIENT}.get_backend_health")
def _backend_health(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    found = checked(cloud, _backend_of(made, call.path["backendSetName"], call.path["backendName"]))
    result = {
        "subnetId": made.wire["subnetIds"][0],
        "sourceIpAddress": "127.0.0.1",
        "timestamp": cloud.moment(),
        "healthCheckStatus": found,
    }
    return _part(made, {"status": "OK" if found == "OK" else "CRITICAL", "healthCheckResults": [result]})


@serves(f"{_CLIENT}.get_backend_set_health")
def _get_set_health(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    return _part(made, _set_health(cloud, _set_of(made, call.path["backendSetName"])))


@serves(f"{_CLIENT}.get_load_balancer_health")
def _health(cloud: Cloud, call: Call) -> Answer:
    made = _need(cloud, call)
    by_status: dict[str, list[str]] = {"OK": [], "WARNING": [], "CRITICAL": [], "UNKNOWN": []}
    for name, backend_set in made.wire["backendSets"].items():
        by_status[_set_health(cloud, backend_set)["status"]].append(name)
    worst = next((status for status in ("CRITICAL", "WARNING", "UNKNOWN") if by_status[status]), "OK")
    body = {
        "status": worst,
        "warningStateBackendSetNames": by_status["WARNING"],
        "criticalStateBackendSetNames": by_status["CRITICAL"],
        "unknownStateBackendSetNames": by_status["UNKNOWN"],
        "totalBackendSetCount": len(made.wire["backendSets"]),
    }
    return _part(made, body)


def _work_wire(made: Resource) -> JsonObject:
    status = made.wire["status"]
    errors = [{"errorCode": "INTERNAL_ERROR", "message": error["message"]} for error in made.hidden["errors"]]
    return {
        "id": made.id,
        "loadBalancerId": made.hidden["resource"],
        "type": "".join(word.title() for word in made.wire["operationType"].split("_")),
        "compartmentId": made.wire["compartmentId"],
        "lifecycleState": status,
        "message": made.hidden["logs"][-1]["message"],
        "timeAccepted": made.wire["timeAccepted"],
        "timeFinished": made.wire.get("timeFinished"),
        "errorDetails": errors,
    }


@serves(f"{_CLIENT}.get_work_request")
def _work(cloud: Cloud, call: Call) -> Answer:
    return Answer(body=_work_wire(work.need(cloud, call)))


@serves(f"{_CLIENT}.list_work_requests")
def _works(cloud: Cloud, call: Call) -> Answer:
    own = [one for one in cloud.state.find("work_request") if one.hidden["resource"] == call.path["loadBalancerId"]]
    return page(call, [_work_wire(work.seen(cloud, one)) for one in own])
