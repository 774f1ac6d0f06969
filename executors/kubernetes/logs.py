"""The last lines of all pods, by time, those before a container's last restart included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from uici.model.base import JsonObject
from uici.model.call import CallError

MAX_LINE = 4096
MAX_PODS = 50
_MAX_BYTES = 16 * 1024 * 1024
_NONE_YET = ("bad_request", "object_not_found")
"""Codes of the answer for a container that has not been started, or whose former one is gone."""


def logs_of(
    cluster: Cluster, pods: Sequence[JsonObject], container: str | None, lines: int, deadline: Deadline
) -> JsonObject:
    """The last lines of the pods (the newest MAX_PODS of them), of one of their containers or of all.

    Raises CallError when not one of them could be read.
    """
    chosen = pods[-MAX_PODS:]
    sources = [(pod, name, previous) for pod in chosen for name, previous in _sources(pod, container)]
    several = len({(pod["metadata"]["name"], name) for pod, name, _ in sources}) > 1
    collected: list[tuple[str, str]] = []
    truncated, failures, read = len(pods) > MAX_PODS, [], 0
    for pod, name, previous in sources:
        namespace, pod_name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        try:
            answer = cluster.logs(
                # One line more than wanted tells whether there is more.
                namespace,
                pod_name,
                name,
                deadline,
                lines=lines + 1,
                previous=previous,
                limit_bytes=_MAX_BYTES,
            )
        except CallError as error:
            if error.code not in _NONE_YET:
                failures.append(error)
            continue
        read += 1
        mark = f"[{pod_name}/{name}] " if several and len(_names(pod, container)) > 1 else f"[{pod_name}] " * several
        found = list(_lines(answer.content))
        truncated = truncated or len(found) > lines or answer.truncated
        former = "(before the last restart) " if previous else ""
        collected += [(at, f"{mark}{former}{text}") for at, text in found[-lines:]]
    if failures and not read:
        raise failures[0]
    collected.sort(key=lambda entry: entry[0])
    return {
        "lines": [text[:MAX_LINE] for _, text in collected[-lines:]],
        "truncated": truncated or len(collected) > lines,
    }


def _names(pod: JsonObject, container: str | None) -> list[str]:
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    if container is not None:
        return [container] if container in names else []
    return names


def _sources(pod: JsonObject, container: str | None) -> Iterator[tuple[str, bool]]:
    """(container, whether the one before its last restart); init containers only where one of them failed or runs."""
    status = pod.get("status") or {}
    names = set(_names(pod, container))
    for one in status.get("initContainerStatuses") or ():
        if not one.get("ready") and container is None:
            names.add(str(one["name"]))
    statuses = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    for one in statuses:
        if one["name"] in names:
            if (one.get("lastState") or {}).get("terminated"):
                yield str(one["name"]), True
            if "waiting" not in (one.get("state") or {}) or one.get("restartCount"):
                yield str(one["name"]), False


def _lines(content: bytes) -> Iterable[tuple[str, str]]:
    for line in content.decode("utf-8", "replace").split("\n"):
        at, _, text = line.rstrip("\r").partition(" ")
        if line:
            yield at, text
