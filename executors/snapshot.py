"""A picture of a service in trouble, put together from looks of which each may fail; for every executor alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError
from uici.model.masking import is_secret_key, mask

MAX_PROCESSES = 200
SECTIONS = {
    "status": "as get_service_status",
    "health": "as check_service_health",
    "logs": "as check_logs",
    "description": "as describe_service",
    "resources": "as check_resource_usage",
    "processes": "the processes: pid, parent, command, user, state; as far as the platform tells",
}
SNAPSHOT_RETURNS = {
    **SECTIONS,
    "details": "what else the platform says of each instance: mounts, networks, limits; null where it says no more",
    "taken_at": "when",
    "truncated": "whether something was left out because of the size",
}


def take(
    sections: Mapping[str, Callable[[], JsonValue]],
    environment: Callable[[], Mapping[str, str]],
    max_bytes: int,
) -> JsonObject:
    """Look at every section; one that cannot be looked at is `{error}`. Masked, and cut to `max_bytes`.

    `environment` gives the service's variables: values of those whose names say that they are secret are hidden in
    every section. Raises the first section's CallError or OSError only when none could be looked at.
    """
    found: JsonObject = {}
    failures: list[CallError | OSError] = []
    for name, look in sections.items():
        try:
            found[name] = look()
        except CallError as error:
            failures.append(error)
            found[name] = {"error": error.message}
        except OSError as error:
            failures.append(error)
            found[name] = {"error": f"{error.strerror or type(error).__name__} {error.filename or ''}".rstrip()}
    if len(failures) == len(sections):
        raise failures[0]
    try:
        variables = environment()
    except CallError:
        variables = {}
        found["logs"] = {"error": "left out: the service's secrets could not be read, so they could not be hidden"}
    shown: JsonObject = mask(found, secrets_of(variables))
    shown, truncated = _bounded(shown, max_bytes)
    return {**shown, "taken_at": datetime.now(UTC).isoformat(timespec="milliseconds"), "truncated": truncated}


def secrets_of(variables: Mapping[str, str]) -> Collection[str]:
    """The values of variables whose names say that they are secret."""
    return [value for name, value in variables.items() if is_secret_key(name)]


def shown_command(argv: Collection[str]) -> str:
    """A command line for people: the value after an option with a secret's name is hidden."""
    words = mask(list(argv))
    return " ".join(str(word) for word in words)[:4096]


def _bounded(found: JsonObject, most: int) -> tuple[JsonObject, bool]:
    """`found` cut to `most` bytes of JSON: old log lines go first, then whole sections, the largest first."""
    truncated = False
    while (size := _size(found)) > most:
        truncated = True
        logs = found.get("logs")
        lines = logs.get("lines") if isinstance(logs, dict) else None
        if isinstance(lines, list) and len(lines) > 1 and _size(lines) * 2 > size:
            found = {**found, "logs": {**logs, "lines": lines[len(lines) // 2 + 1 :], "truncated": True}}  # type: ignore[dict-item]  # a dict, since it has lines
            continue
        largest = max(found, key=lambda name: _size(found[name]))
        left_out = {"error": f"left out: {_size(found[largest])} bytes, and a snapshot may have {most}"}
        if _size(found[largest]) <= _size(left_out):
            break
        found = {**found, largest: left_out}
    return found, truncated


def _size(value: JsonValue) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
