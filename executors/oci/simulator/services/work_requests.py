"""Work requests as their services show them: each service its own, and the one for Compute."""

from __future__ import annotations

from executors.oci.simulator import work
from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.serving import Answer, Call, page, serves
from executors.oci.simulator.shapes import projected

_OWN = "container_instances.ContainerInstanceClient"
_FUNCTIONS = "functions.WorkRequestManagementClient"
_COMPUTE = "work_requests.WorkRequestClient"
_RETRY_AFTER = "1"
_WITH_THEIR_OWN = {"container_instances", "functions", "load_balancer"}


def _each(operation: str) -> list[str]:
    """An operation that each of these services has alike."""
    return [f"{client}.{operation}" for client in (_OWN, _FUNCTIONS, _COMPUTE)]


@serves(*_each("get_work_request"))
def _get(cloud: Cloud, call: Call) -> Answer:
    found = work.need(cloud, call)
    body = projected(found.wire, str(call.operation.response), call.operation.types)
    return Answer(body=body, headers={"etag": found.etag, "retry-after": _RETRY_AFTER})


@serves(*_each("list_work_requests"))
def _list(cloud: Cloud, call: Call) -> Answer:
    service = call.operation.service
    resource = call.asked("resourceId")
    wanted = call.asked("workRequestId")
    found = []
    for made in cloud.in_compartment("work_request", call.asked("compartmentId")):
        of = made.hidden["service"]
        of_service = (of if of in _WITH_THEIR_OWN else "work_requests") == service
        if of_service and wanted in {None, made.id} and resource in {None, made.hidden["resource"]}:
            found.append(work.seen(cloud, made).wire)
    return page(call, found)


@serves(*_each("list_work_request_errors"))
def _errors(cloud: Cloud, call: Call) -> Answer:
    return page(call, work.need(cloud, call).hidden["errors"])


@serves(*_each("list_work_request_logs"))
def _logs(cloud: Cloud, call: Call) -> Answer:
    return page(call, work.need(cloud, call).hidden["logs"])
