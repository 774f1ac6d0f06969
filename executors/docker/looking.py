"""Looks at more than one thing at once: what else the engine runs, and everything about a container in trouble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from executors.deadline import Deadline
from executors.docker.arguments import ListAll, Snapshot
from executors.docker.engine import Engine
from executors.docker.facts import Facts
from executors.docker.lookup import Lookup, name_of
from executors.images import repository_of, tag_of
from executors.snapshot import MAX_PROCESSES, shown_command, take
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

_STATES: Mapping[str, str] = {
    "created": "stopped",
    "running": "running",
    "paused": "paused",
    "restarting": "restarting",
    "removing": "stopped",
    "exited": "exited",
    "dead": "failed",
}
_HOST_KEYS = (
    "RestartPolicy",
    "NetworkMode",
    "NanoCpus",
    "Memory",
    "MemorySwap",
    "PidsLimit",
    "LogConfig",
    "Privileged",
)


def services_of(lookup: Lookup, wanted: ListAll, deadline: Deadline) -> JsonObject:
    """All containers of the engine, by name. The engine's list does not tell `stopped` on request from `exited`."""
    found: list[JsonObject] = []
    for entry in lookup.listed({}, deadline):
        image = str(entry.get("Image", ""))
        found.append(
            {
                "id": entry["Id"],
                "name": name_of(entry),
                "state": _STATES.get(str(entry.get("State")), "unknown"),
                "image": repository_of(image) or image,
                "version": tag_of(image),
            }
        )
    if wanted.state is not None:
        found = [one for one in found if one["state"] == wanted.state]
    found.sort(key=lambda one: str(one["name"]))
    return {
        "services": found[: wanted.limit],
        "total": len(found),
        "running": sum(one["state"] == "running" for one in found),
        "truncated": len(found) > wanted.limit,
    }


def snapshot_of(
    engine: Engine,
    lookup: Lookup,
    wanted: Snapshot,
    looks: Mapping[str, Callable[[], JsonValue]],
    deadline: Deadline,
) -> JsonObject:
    """Everything at once; `looks` are the sections that other calls answer too."""

    def inspected() -> list[dict[str, Any]]:
        found = lookup.inspected(wanted.target, deadline)
        if not found:
            raise lookup.missing(wanted.target)
        return found

    def variables() -> Mapping[str, str]:
        merged: dict[str, str] = {}
        for number, one in enumerate(inspected()):
            merged |= {f"{name}.{number}": value for name, value in Facts.of(one).environment.items()}
        return merged

    sections: dict[str, Callable[[], JsonValue]] = {
        **looks,
        "processes": lambda: _processes(engine, [Facts.of(one) for one in inspected()], deadline),
        "details": lambda: [_details(one) for one in inspected()],
    }
    return take(sections, variables, engine.settings.limits.snapshot_bytes)


def _processes(engine: Engine, members: Sequence[Facts], deadline: Deadline) -> list[JsonObject]:
    running = [one for one in members if one.pid is not None]
    if not running:
        raise CallError(FailureKind.PERMANENT, "not_running", "no container runs, so there are no processes")
    found: list[JsonObject] = []
    for one in running:
        answer = engine.get(("containers", one.id, "top"), deadline=deadline).json() or {}
        titles = [str(title).lower() for title in answer.get("Titles") or ()]
        for values in answer.get("Processes") or ():
            row: JsonObject = dict(zip(titles, values, strict=False))
            command = str(row.pop("cmd", row.pop("command", "")))
            found.append({"instance": one.name, **row, "command": shown_command(command.split(" "))})
    return found[:MAX_PROCESSES]


def _details(found: Mapping[str, Any]) -> JsonObject:
    state, host = dict(found["State"]), found["HostConfig"]
    checks = (state.get("Health") or {}).get("Log") or []
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "id": found["Id"],
        "name": str(found["Name"]).lstrip("/"),
        "image": found["Config"].get("Image"),
        "image_id": found.get("Image"),
        "created": found.get("Created"),
        "state": {key: value for key, value in state.items() if key != "Health"},
        "last_checks": [
            {"exit_code": check.get("ExitCode"), "output": str(check.get("Output", ""))[:1000]} for check in checks[-3:]
        ],
        "limits": {key: host.get(key) for key in _HOST_KEYS},
        "mounts": [
            {"type": one.get("Type"), "source": one.get("Source"), "destination": one.get("Destination")}
            for one in found.get("Mounts") or ()
        ],
        "networks": {name: endpoint.get("IPAddress") or None for name, endpoint in networks.items()},
        "labels": dict(found["Config"].get("Labels") or {}),
    }
