"""Whether a call that may or may not have been sent has happened, read from what is there now."""

from __future__ import annotations

import time
from collections.abc import Callable

from executors.local.observe import Instance
from executors.local.program import Specification, changed_environment
from uici.model.base import JsonObject
from uici.model.call import Happened

_POLL_SECONDS = 0.05
_MARGIN_SECONDS = 2.0


def remember(specification: Specification, installed: bool, instances: tuple[Instance, ...]) -> JsonObject:
    """What a proof will compare with."""
    return {
        "sequence": specification.sequence if installed else 0,
        "replicas": specification.replicas,
        "version": specification.version,
        "previous_version": specification.previous_version,
        "assigned": dict(specification.assigned),
        "removed": list(specification.removed),
        "instances": {
            instance.id: {
                "process": list(instance.identity) if instance.identity else None,
                "running": instance.running,
            }
            for instance in instances
        },
    }


def at_rest(look: Callable[[], tuple[Instance, ...]], stop_seconds: float) -> tuple[Instance, ...]:
    """The instances when no stop is under way any more: a stop that was sent goes on without its sender."""
    deadline = time.monotonic() + stop_seconds + _MARGIN_SECONDS
    while True:
        instances = look()
        if not any(instance.stopping for instance in instances) or time.monotonic() > deadline:
            return instances
        time.sleep(_POLL_SECONDS)


def prove(
    name: str, arguments: JsonObject, before: JsonObject, now: Specification, instances: tuple[Instance, ...]
) -> Happened:
    """Compare. NO means that the call can be sent (again) without doing anything twice."""
    if not before or any(instance.stopping for instance in instances):
        return Happened.UNKNOWN
    if name == "program.start":
        return _of(all(one.running or _renewed(one, before) for one in instances))
    if name == "program.stop":
        running = [one for one in instances if one.running]
        if any(_renewed(one, before) for one in running):
            return Happened.UNKNOWN  # stopped and started by somebody, or only restarted
        return _of(not running)
    if name == "program.restart":
        renewed = [_renewed(one, before) for one in instances]
        if any(renewed) and not all(renewed):
            return Happened.UNKNOWN  # repeating it would restart some of them twice
        return _of(all(renewed))
    if name == "program.scale":
        return _scaled(arguments["replicas"], before, now, instances)
    return _configured(name, arguments, before, now, instances)


def _scaled(replicas: int, before: JsonObject, now: Specification, instances: tuple[Instance, ...]) -> Happened:
    if now.replicas != replicas:
        return _of(False) if now.replicas == before["replicas"] else Happened.UNKNOWN
    former = before["instances"]
    alive = not former or any(one["running"] for one in former.values())
    return _of(not alive or all(one.id in former or one.identity is not None for one in instances))


def _configured(
    name: str, arguments: JsonObject, before: JsonObject, now: Specification, instances: tuple[Instance, ...]
) -> Happened:
    present = {"version": now.version, "assigned": now.assigned, "removed": list(now.removed)}
    wanted = dict(present)
    if name == "program.configure":
        goal = changed_environment(now, arguments.get("environment", {}), tuple(arguments.get("remove", ())))
        wanted.update(assigned=goal.assigned, removed=list(goal.removed))
    elif name == "program.deploy":
        wanted["version"] = arguments["version"]
    else:
        wanted["version"] = before["previous_version"]
    if present == wanted:
        # A change that was written but does not run yet is completed by sending it again.
        return _of(not unfinished(now, instances))
    return _of(False) if all(present[key] == before[key] for key in present) else Happened.UNKNOWN


def unfinished(specification: Specification, instances: tuple[Instance, ...]) -> tuple[str, ...]:
    """The instances that a change under way still has to restart: none that was started with it already."""
    return tuple(
        one.id for one in instances if one.id in specification.pending and one.launch != specification.launch_digest
    )


def _renewed(instance: Instance, before: JsonObject) -> bool:
    """Whether the instance is, or last was, another process than before."""
    former = before["instances"].get(instance.id, {}).get("process")
    return instance.identity is not None and list(instance.identity) != former


def _of(proved: bool) -> Happened:
    return Happened.YES if proved else Happened.NO
