"""Logging search over what the programs wrote.

The query language: https://docs.oracle.com/en-us/iaas/Content/Logging/Reference/query_language_specification.htm
A log's name is its container's, instance's or machine's display name or OCID; every log group has all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase

from executors.oci.simulator import workloads
from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.refusals import invalid_parameter
from executors.oci.simulator.serving import Answer, Call, paged, serves
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

_STREAM = re.compile(r'"([^"]+)"\s*,?\s*')
_CONDITION = re.compile(r"""([\w."]+)\s*(=|!=)\s*'([^']*)'""")
_SORT = re.compile(r"sort\s+by\s+datetime(?:\s+(asc|desc))?", re.IGNORECASE)
_LIMIT = re.compile(r"(?:limit|top)\s+(\d+)", re.IGNORECASE)
Records = list[JsonObject]


@serves("loggingsearch.LogSearchClient.search_logs")
def _search(cloud: Cloud, call: Call) -> Answer:
    ahead = float(cloud.state.fact("ahead") or 0.0)
    start, end = (datetime.fromisoformat(call.body[name]).timestamp() + ahead for name in ("timeStart", "timeEnd"))
    if start >= end:
        raise invalid_parameter("timeStart must be before timeEnd")
    scope, *operators = [part.strip() for part in call.body["searchQuery"].split("|")]
    found: Records = []
    for stream in _streams(scope):
        found += [one for one in _records(cloud, stream) if start <= one["datetime"] / 1000 <= end]
    found.sort(key=lambda one: int(one["datetime"]), reverse=True)
    for text in operators:
        found = _applied(text)(found)
    part = paged(call, [{"data": one} for one in found])
    body = {"results": part.body, "summary": {"resultCount": len(part.body), "fieldCount": 0}}
    return Answer(body=body, headers=part.headers)


def _streams(scope: str) -> list[str]:
    verb, _, rest = scope.partition(" ")
    found = _STREAM.findall(rest)
    if verb.lower() != "search" or not found or _STREAM.sub("", rest).strip():
        raise invalid_parameter(f'The query must begin with search "compartment/logGroup/log", not {scope!r}')
    return [str(one) for one in found]


def _records(cloud: Cloud, stream: str) -> Records:
    compartment, *rest = stream.split("/")
    group, log = (*rest, "", "")[:2]
    records = []
    for kind in workloads.KINDS:
        for one in cloud.in_compartment(kind, compartment):
            if not log or log in _names(cloud, one):
                lines = [*one.hidden.get("previous", []), *one.hidden.get("log", [])]
                records += [_record(cloud, one, group, line, number) for number, line in enumerate(lines)]
    return records


def _names(cloud: Cloud, one: Resource) -> set[str]:
    names = {one.id, str(one.wire["displayName"])}
    owner = cloud.state.any(str(one.wire.get("containerInstanceId")))
    return names | ({owner.id, str(owner.wire["displayName"])} if owner else set())


def _record(cloud: Cloud, one: Resource, group: str, line: str, number: int) -> JsonObject:
    at, _, message = line.partition(" ")
    oracle = {
        "compartmentid": one.wire["compartmentId"],
        "ingestedtime": at,
        "loggroupid": group,
        "logid": one.id,
        "tenantid": cloud.tenancy,
    }
    content = {
        "data": {"message": message},
        "id": f"{one.id}-{number}",
        "oracle": oracle,
        "source": one.wire["displayName"],
        "specversion": "1.0",
        "time": at,
        "type": "com.oraclecloud.logging.custom.simulated",
    }
    return {"datetime": round(datetime.fromisoformat(at).timestamp() * 1000), "logContent": content}


def _applied(text: str) -> Callable[[Records], Records]:
    """One operator after a pipe."""
    if sort := _SORT.fullmatch(text):
        newest_first = (sort[1] or "asc").lower() == "desc"
        return lambda found: sorted(found, key=lambda one: int(one["datetime"]), reverse=newest_first)
    if limit := _LIMIT.fullmatch(text):
        return lambda found: found[: int(limit[1])]
    if text.startswith("where "):
        conditions = _CONDITION.findall(text)
        if conditions and not _CONDITION.sub("", text.removeprefix("where ")).replace("and", "").strip():
            return lambda found: [one for one in found if all(_meets(one, *each) for each in conditions)]
    raise invalid_parameter(f"The simulator does not know this part of the query: {text}")


def _meets(record: JsonObject, field: str, how: str, pattern: str) -> bool:
    value: object = record
    path = field.replace('"', "").split(".")
    if path[0] != "logContent":
        path = ["logContent", *path]
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return fnmatchcase(str(value), pattern) is (how == "=")
