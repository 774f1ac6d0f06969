"""Monitoring: metrics of what runs, computed when asked, and metrics that were posted.

Metrics of machines: https://docs.oracle.com/en-us/iaas/Content/Compute/References/computemetrics.htm
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from executors.oci.simulator import mql, workloads
from executors.oci.simulator.cloud import Cloud, written
from executors.oci.simulator.refusals import invalid_parameter
from executors.oci.simulator.serving import Answer, Call, page, serves
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

_CLIENT = "monitoring.MonitoringClient"
_STEP = 60
_HOUR = 3600.0
_NAMESPACES = {"instance": "oci_computeagent", "container": "oci_computecontainerinstance"}
_METRICS = {
    "CpuUtilization": {"well": 12.0, "hang": 100.0, "unready": 3.0, "disk_full": 9.0, "dependency_down": 4.0},
    "MemoryUtilization": {"well": 35.0, "hang": 40.0, "unready": 30.0, "disk_full": 36.0, "dependency_down": 33.0},
}
"""Percent, by the condition of the program; a measured value (`Simulator.measure`) has precedence."""


@dataclass(frozen=True)
class Series:
    """One metric of one thing."""

    namespace: str
    name: str
    dimensions: dict[str, str]
    points: list[mql.Point]


def _series(cloud: Cloud, compartment: str, start: float, end: float) -> Iterator[Series]:
    ahead = float(cloud.state.fact("ahead") or 0.0)
    for kind, namespace in _NAMESPACES.items():
        for one in cloud.in_compartment(kind, compartment):
            if workloads.is_running(one):
                since = max(start, one.hidden["run"]["since"] - ahead)
                for name, value in _measured(cloud, one).items():
                    # The newest point is always there, so that something that runs is never without one.
                    times = [*range(int(since // _STEP + 1) * _STEP, int(end), _STEP), end]
                    points = [(float(at), value) for at in times]
                    yield Series(namespace, name, _dimensions(cloud, one), points)
    for posted in cloud.in_compartment("metric", compartment):
        points = [(float(at), float(value)) for at, value in posted.hidden["points"] if start <= at <= end]
        yield Series(posted.wire["namespace"], posted.wire["name"], posted.wire["dimensions"], points)


def _measured(cloud: Cloud, one: Resource) -> dict[str, float]:
    condition = workloads.condition(cloud, one)
    computed = {name: by[condition] for name, by in _METRICS.items()}
    return {**computed, **one.hidden.get("measured", {})}


def _dimensions(cloud: Cloud, one: Resource) -> dict[str, str]:
    owner = cloud.state.any(one.wire["containerInstanceId"]) if one.kind == "container" else one
    shown = owner or one
    return {
        "resourceId": shown.id,
        "resourceDisplayName": str(shown.wire["displayName"]),
        **({"containerId": one.id, "containerName": str(one.wire["displayName"])} if one.kind == "container" else {}),
    }


@serves(f"{_CLIENT}.summarize_metrics_data")
def _summarize(cloud: Cloud, call: Call) -> Answer:
    compartment = cloud.need_compartment(call.asked("compartmentId"))
    query = mql.parsed(call.body["query"])
    now = cloud.clock() - float(cloud.state.fact("ahead") or 0.0)
    end = _moment(call.body.get("endTime"), now)
    start = _moment(call.body.get("startTime"), end - 3 * _HOUR)
    if start >= end:
        raise invalid_parameter("startTime must be before endTime")
    groups: dict[tuple[tuple[str, str], ...], list[mql.Point]] = {}
    for series in _series(cloud, compartment, start, min(end, now)):
        same = (series.namespace, series.name) == (call.body["namespace"], query.metric)
        if same and query.keeps(series.dimensions):
            groups.setdefault(tuple(sorted(query.group(series.dimensions).items())), []).extend(series.points)
    if query.statistic == "absent" and not groups:
        groups[()] = []
    found = [
        _data(call, compartment, query, dict(group), query.aggregated(sorted(points), start, end))
        for group, points in groups.items()
    ]
    return Answer(body=found)


def _data(
    call: Call, compartment: str, query: mql.Query, dimensions: dict[str, str], points: list[mql.Point]
) -> JsonObject:
    return {
        "namespace": call.body["namespace"],
        "compartmentId": compartment,
        "name": query.metric,
        "dimensions": dimensions,
        "resolution": call.body.get("resolution") or "1m",
        "aggregatedDatapoints": [{"timestamp": written(at), "value": value} for at, value in points],
    }


def _moment(text: str | None, otherwise: float) -> float:
    return datetime.fromisoformat(text).timestamp() if text else otherwise


@serves(f"{_CLIENT}.list_metrics")
def _list(cloud: Cloud, call: Call) -> Answer:
    compartment = cloud.need_compartment(call.asked("compartmentId"))
    wanted = call.body or {}
    now = cloud.clock()
    found = []
    for one in _series(cloud, compartment, now - _HOUR, now):
        filters = wanted.get("dimensionFilters") or {}
        meets = all(one.dimensions.get(name) == value for name, value in filters.items())
        if meets and wanted.get("name") in {None, one.name} and wanted.get("namespace") in {None, one.namespace}:
            shown = {"name": one.name, "namespace": one.namespace, "compartmentId": compartment}
            found.append({**shown, "dimensions": one.dimensions})
    return page(call, found)


@serves(f"{_CLIENT}.post_metric_data")
def _post(cloud: Cloud, call: Call) -> Answer:
    for one in call.body["metricData"]:
        cloud.need_compartment(one["compartmentId"])
        made = Resource("metric", cloud.new_id("metric"), {**one, "datapoints": None})
        made.hidden["points"] = [(_moment(point["timestamp"], 0.0), point["value"]) for point in one["datapoints"]]
        cloud.state.put(made)
        cloud.record(call, made.id, f"posted {one['name']}")
    return Answer(body={"failedMetricsCount": 0, "failedMetrics": []})
