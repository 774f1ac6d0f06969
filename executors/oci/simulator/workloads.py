"""How the programs behave that the simulated containers and machines run.

A program is well unless a *behaviour* says otherwise (data: an image's tag, an environment variable, too little memory)
or an *ailment* was ordered. It really listens: see `endpoints`. Its state is kept in `hidden["run"]` of its resource.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from executors.oci.simulator.serving import STEPS, step
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from executors.oci.simulator.cloud import Cloud

Ailment = Literal["exit", "oom", "hang", "unready", "disk_full", "dependency_down", "pull_failure"]
"""exit: ends, at once and at every start. oom: the kernel kills it, 137. hang: listens and never answers. unready:
answers 503. disk_full: cannot write, so 503. dependency_down: 503 as long as what it depends on is not well.
pull_failure: the image cannot be pulled."""

KINDS = ("container", "instance")
"""The kinds of resource that run a program."""

DEFAULT_BEHAVIOURS: list[JsonObject] = [
    {"image": "*:missing", "then": "pull_failure"},
    {"image": "*:bad", "then": "unready"},
    {"image": "*:crash", "then": "exit", "code": 1},
    {"image": "*:late", "then": "unready", "after": 60},
    {"environment": {"MODE": "broken"}, "then": "exit", "code": 78},
]
"""After `after` seconds of the cloud, at every start. A site may give its own."""

KILLED = 137
_CURED_BY_START = {"once", "restart", "behaviour"}
_RESTART_SECONDS = 10.0
_EXIT_SECONDS = 2.0
_LOG_LINES = 2000
_SAYS = {
    "hang": "worker does not answer any more",
    "unready": "not ready",
    "disk_full": "write failed: No space left on device",
    "dependency_down": "dependency does not answer: Connection refused",
}


def is_running(resource: Resource) -> bool:
    """Whether the program runs, well or not."""
    return bool(resource.hidden.get("run", {}).get("running"))


def is_well(cloud: Cloud, resource: Resource) -> bool:
    """Whether it answers that it is ready."""
    return is_running(resource) and condition(cloud, resource) == "well"


def condition(cloud: Cloud, resource: Resource) -> str:
    """`well`, or the ailment that a client of the running program meets."""
    for ailment in resource.hidden.get("ailments", []):
        other = ailment.get("on")
        if ailment["kind"] == "dependency_down" and other:
            depended = cloud.state.any(other)
            if depended is not None and is_well(cloud, depended):
                continue
        if ailment["kind"] not in {"exit", "oom"} and ailment.get("since", 0.0) <= cloud.clock():
            return str(ailment["kind"])
    return "well"


def say(cloud: Cloud, resource: Resource, line: str) -> None:
    """Let the program write a line to its log."""
    lines = resource.hidden.setdefault("log", [])
    lines.append(f"{cloud.moment()} {line}")
    del lines[:-_LOG_LINES]


def can_start(cloud: Cloud, image: str) -> bool:
    """Whether the image can be pulled."""
    return not any(_meets(b, image, {}) and b["then"] == "pull_failure" for b in behaviours(cloud) if "image" in b)


def fails(cloud: Cloud, image: str, environment: JsonObject) -> bool:
    """Whether a program of this image, with this environment, suffers from anything as soon as it starts."""
    return any(_meets(b, image, environment) and "after" not in b for b in behaviours(cloud))


def behaviours(cloud: Cloud) -> list[JsonObject]:
    """The rules in force."""
    return list(cloud.state.fact("behaviours") or DEFAULT_BEHAVIOURS)


def begin(cloud: Cloud, resource: Resource) -> None:
    """Start the program. What only a start cures is cured; the caller keeps the resource."""
    hidden = resource.hidden
    kept = [ailment for ailment in hidden.get("ailments", []) if ailment["cure"] not in _CURED_BY_START]
    hidden["ailments"] = kept
    hidden["previous"] = hidden.get("log", [])
    hidden["log"] = []
    hidden["run"] = {"running": True, "since": cloud.clock(), "number": hidden.get("run", {}).get("number", 0) + 1}
    program = hidden.get("program", {})
    say(cloud, resource, f"starting {program.get('image', 'program')}")
    say(cloud, resource, "ready")
    for behaviour in behaviours(cloud):
        if _meets(behaviour, program.get("image", ""), program.get("environment", {})):
            ail(cloud, resource, behaviour["then"], cure="behaviour", **_details(behaviour))
    demand = float(program.get("environment", {}).get("MEMORY_DEMAND_GB", 0))
    if demand > float(program.get("memory_gb", demand)):
        ail(cloud, resource, "oom", cure="behaviour")
    for ailment in kept:
        _strike(cloud, resource, ailment)


def end(cloud: Cloud, resource: Resource, code: int) -> None:
    """The program ends, or is ended; the caller keeps the resource."""
    run = resource.hidden.setdefault("run", {})
    run.update(running=False, code=code, ended=cloud.moment())
    cloud.state.cancel("workload.ends", resource.id)
    cloud.state.cancel("workload.checked", resource.id)
    cloud.state.cancel("workload.begins", resource.id)


def ail(cloud: Cloud, resource: Resource, kind: str, *, cure: str = "restart", **details: object) -> None:
    """Let the program suffer from something until its cure.

    `once`: any new start. `restart`: one that was asked for, not the platform's own. `replace`: only a new one in its
    place.
    """
    after = float(str(details.pop("after", 0.0)))
    ailment: JsonObject = {"kind": kind, "cure": cure, "since": cloud.clock() + after / cloud.speed, **details}
    resource.hidden.setdefault("ailments", []).append(ailment)
    _strike(cloud, resource, ailment)


def heal(resource: Resource, *kinds: str) -> None:
    """Take ailments away, all or those of some kinds, as cleaning a disk does."""
    hidden = resource.hidden
    hidden["ailments"] = [a for a in hidden.get("ailments", []) if kinds and a["kind"] not in kinds]


def _strike(cloud: Cloud, resource: Resource, ailment: JsonObject) -> None:
    waits = max(0.0, ailment["since"] - cloud.clock()) * cloud.speed
    if ailment["kind"] in {"exit", "oom"}:
        code = KILLED if ailment["kind"] == "oom" else int(ailment.get("code", 1))
        oom = ailment["kind"] == "oom"
        say(cloud, resource, "out of memory: killed" if oom else f"fatal: giving up with exit code {code}")
        cloud.later(waits + _EXIT_SECONDS, "workload.ends", resource.id, code=code, oom=oom)
    elif ailment["kind"] in _SAYS:
        say(cloud, resource, _SAYS[ailment["kind"]])
        patience = resource.hidden.get("program", {}).get("killed_after")
        if patience is not None:
            cloud.later(waits + patience, "workload.checked", resource.id)


@step("workload.checked")
def _checked(cloud: Cloud, id: str, data: JsonObject) -> None:
    """The platform kills what its health check has found unwell for too long."""
    resource = cloud.state.any(id)
    if resource is not None and is_running(resource) and condition(cloud, resource) != "well":
        say(cloud, resource, "killed: the health check failed")
        cloud.state.put(resource)
        _ends(cloud, id, {"code": KILLED, "oom": False})


@step("workload.ends")
def _ends(cloud: Cloud, id: str, data: JsonObject) -> None:
    resource = cloud.state.any(id)
    if resource is None or not is_running(resource):
        return
    end(cloud, resource, data["code"])
    resource.hidden["run"]["oom"] = data["oom"]
    cloud.state.put(resource)
    cloud.record(None, id, f"program ended with exit code {data['code']}")
    STEPS[f"{resource.kind}.program_ended"](cloud, id, data)


def begin_again(cloud: Cloud, resource: Resource, attempts: int) -> None:
    """Let the platform start the program anew, later at each attempt."""
    cloud.later(min(_RESTART_SECONDS * 2.0 ** min(attempts, 5), 300.0), "workload.begins", resource.id)


@step("workload.begins")
def _begins(cloud: Cloud, id: str, data: JsonObject) -> None:
    resource = cloud.state.any(id)
    if resource is not None and not is_running(resource):
        STEPS[f"{resource.kind}.program_begins"](cloud, id, data)


def _meets(behaviour: JsonObject, image: str, environment: JsonObject) -> bool:
    if not fnmatchcase(image, behaviour.get("image", "*")):
        return False
    wanted = behaviour.get("environment", {})
    return all(fnmatchcase(str(environment.get(name, "")), pattern) for name, pattern in wanted.items())


def _details(behaviour: JsonObject) -> JsonObject:
    return {name: value for name, value in behaviour.items() if name in {"after", "code", "on"}}
