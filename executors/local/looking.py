"""Looks at more than one thing at once: every program of this supervisord, and all about one in trouble."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psutil

from executors.local.observe import Instance, not_found, observe, status_document, trees
from executors.local.program import ProgramFiles, Specification
from executors.local.supervisor import Supervisor
from executors.snapshot import MAX_PROCESSES, shown_command, take
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind


def services_of(
    files: ProgramFiles, supervisor: Supervisor, state: str | None, limit: int, *, manage: bool
) -> JsonObject:
    """All installed programs, by name. One whose specification cannot be read is `unknown`."""
    found: list[JsonObject] = []
    readable: list[Specification] = []
    for program in files.installed():
        try:
            specification = files.read(program)
        except CallError:
            found.append({"id": program, "name": program, "state": "unknown", "image": None, "version": None})
            continue
        if specification is not None:
            readable.append(specification)
    # All of them with one request.
    names = tuple(name for specification in readable for name in specification.instances)
    seen = {instance.id: instance for instance in observe(files, supervisor, names, manage=manage)}
    for specification in readable:
        status = status_document(specification, tuple(seen[name] for name in specification.instances))
        name, version = specification.program, status["version"]
        found.append({"id": name, "name": name, "state": status["state"], "image": None, "version": version})
    found.sort(key=lambda one: str(one["name"]))
    if state is not None:
        found = [one for one in found if one["state"] == state]
    return {
        "services": found[:limit],
        "total": len(found),
        "running": sum(one["state"] == "running" for one in found),
        "truncated": len(found) > limit,
    }


def snapshot_of(
    program: str,
    specification: Specification | None,
    instances: Callable[[], tuple[Instance, ...]],
    looks: Mapping[str, Callable[[], JsonValue]],
    max_bytes: int,
) -> JsonObject:
    """Everything at once; `looks` are the sections that other calls answer too."""

    def details() -> JsonValue:
        if specification is None:
            raise not_found(program)
        return {"directory": specification.launch.directory, "sequence": specification.sequence}

    variables = specification.launch.environment if specification is not None else {}
    sections = {**looks, "processes": lambda: _processes(instances()), "details": details}
    return take(sections, lambda: variables, max_bytes)


def _processes(instances: tuple[Instance, ...]) -> list[JsonObject]:
    pids = [instance.pid for instance in instances if instance.pid is not None]
    if not pids:
        raise CallError(FailureKind.PERMANENT, "not_running", "no instance runs, so there are no processes")
    found: list[JsonObject] = []
    for process in trees(pids):
        try:
            with process.oneshot():
                found.append(
                    {
                        "pid": process.pid,
                        "ppid": process.ppid(),
                        "user": process.username(),
                        "state": process.status(),
                        "memory_bytes": process.memory_info().rss,
                        "threads": process.num_threads(),
                        "command": shown_command(process.cmdline()),
                    }
                )
        except psutil.Error:
            continue  # it ended between two looks
    return found[:MAX_PROCESSES]
