"""Work requests: what takes its time, with percentages, logs and errors.

How the services report it: https://docs.oracle.com/en-us/iaas/Content/General/Concepts/workrequestoverview.htm
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from executors.oci.simulator.serving import Call, step
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from executors.oci.simulator.cloud import Cloud

_ACCEPTED_SHARE = 0.1
"""Of its duration a work request is only accepted, not yet in progress."""


class WorkFailedError(Exception):
    """The work cannot be done: its work request fails with this code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Work:
    """What is handed to the function that does the work when its time has come."""

    id: str
    resource: str
    data: JsonObject
    failure: WorkFailedError | None
    """Ordered: the function puts the resource into the state that a failure leaves."""


WorkStep: TypeAlias = "Callable[[Cloud, Work], None]"
WORK: dict[str, WorkStep] = {}


def work(name: str) -> Callable[[WorkStep], WorkStep]:
    """Let a function be what the work requests of this name do in the end."""

    def register(handler: WorkStep) -> WorkStep:
        WORK[name] = handler
        return handler

    return register


def begin(
    cloud: Cloud, call: Call, name: str, resource: Resource, *, kind: str, entity: str, seconds: float, **data: object
) -> str:
    """Accept work on a resource; `name` is the work's and, in capitals, the operation type that people see."""
    slow = cloud.orders.take(call.operation.name, of_work=True)
    failure = None
    if slow is not None and slow.trouble == "fail_work":
        failure = {"code": slow.code, "message": slow.message}
    elif slow is not None:
        seconds += slow.seconds * cloud.speed  # ordered in seconds of this machine
    now = cloud.clock()
    made = Resource(
        "work_request",
        cloud.new_id(kind),
        wire={
            "operationType": name.rsplit(".", 1)[-1].upper(),
            "compartmentId": resource.wire["compartmentId"],
            "status": "ACCEPTED",
            "percentComplete": 0.0,
            "timeAccepted": cloud.moment(),
            "resources": [{"entityType": entity, "actionType": "IN_PROGRESS", "identifier": resource.id}],
        },
        hidden={
            "service": call.operation.service,
            "step": name,
            "resource": resource.id,
            "data": data,
            "begun": now,
            "due": now + seconds / cloud.speed,
            "failure": failure,
            "errors": [],
            "logs": [{"message": "The work request is accepted.", "timestamp": cloud.moment()}],
        },
    )
    made.wire["id"] = made.id
    cloud.state.put(made)
    cloud.later(seconds, "work.finish", made.id)
    return made.id


@step("work.finish")
def _finish(cloud: Cloud, id: str, data: JsonObject) -> None:
    made = cloud.state.get("work_request", id)
    if made is None:
        return
    hidden, wire = made.hidden, made.wire
    ordered = WorkFailedError(**hidden["failure"]) if hidden["failure"] else None
    failure = ordered
    try:
        WORK[hidden["step"]](cloud, Work(id, hidden["resource"], hidden["data"], ordered))
    except WorkFailedError as error:
        failure = error
    wire["timeStarted"] = wire["timeAccepted"]
    wire["timeFinished"] = cloud.moment()
    wire["percentComplete"] = 100.0
    wire["status"] = "FAILED" if failure else "SUCCEEDED"
    wire["resources"][0]["actionType"] = _action(wire["operationType"])
    if failure:
        hidden["errors"].append({"code": failure.code, "message": failure.message, "timestamp": cloud.moment()})
    end = "failed" if failure else "succeeded"
    hidden["logs"].append({"message": f"The work request has {end}.", "timestamp": cloud.moment()})
    cloud.state.put(made)
    cloud.record(None, hidden["resource"], f"{hidden['step']} {end}")


def _action(operation: str) -> str:
    for word, action in (("CREATE", "CREATED"), ("LAUNCH", "CREATED"), ("DELETE", "DELETED"), ("TERMINATE", "DELETED")):
        if operation.startswith(word):
            return action
    return "UPDATED"


def seen(cloud: Cloud, made: Resource) -> Resource:
    """A work request as it is at this moment."""
    if "timeFinished" in made.wire:
        return made
    hidden = made.hidden
    share = (cloud.clock() - hidden["begun"]) / max(hidden["due"] - hidden["begun"], 0.001)
    wire = dict(made.wire)
    if share >= _ACCEPTED_SHARE:
        wire["status"] = "IN_PROGRESS"
        wire["timeStarted"] = wire["timeAccepted"]
        wire["percentComplete"] = float(min(99, round(share * 100)))
    return Resource(made.kind, made.id, wire, hidden, made.version)


def need(cloud: Cloud, call: Call) -> Resource:
    """The work request that a call names."""
    return seen(cloud, cloud.need("work_request", call.path["workRequestId"]))
