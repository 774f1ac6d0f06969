"""What one thing in Oracle Cloud is: the parts of the services' answers that our answers are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from executors.images import tag_of
from uici.model.base import JsonObject

TAG_PREVIOUS_IMAGE = "uici-previous-image"
TAG_DEPLOYED_AT = "uici-deployed-at"

GIB = 1024**3
_WORST_FIRST = ("failed", "exited", "restarting", "stopped", "paused", "starting", "running")
_HEALTH_WORST_FIRST = ("unhealthy", "starting", "healthy")
_SIMPLE: Mapping[str, str] = {
    # Compute instances
    "PROVISIONING": "starting",
    "STARTING": "starting",
    "RUNNING": "running",
    "STOPPING": "stopped",
    "STOPPED": "stopped",
    "MOVING": "starting",
    "CREATING_IMAGE": "running",
    # Instance pools
    "SCALING": "running",
    # Functions and container instances
    "CREATING": "starting",
    "ACTIVE": "running",
    "UPDATING": "running",
    "INACTIVE": "stopped",
    "FAILED": "failed",
}
GONE = frozenset({"DELETING", "DELETED", "TERMINATING", "TERMINATED"})


@dataclass(frozen=True)
class Facts:
    """One container instance (with the container that is meant), compute instance, or function."""

    id: str
    name: str
    state: str
    lifecycle: str
    """The service's own word for the state."""
    compartment: str
    created: str
    started_at: str | None
    etag: str | None
    exit_code: int | None = None
    oom_killed: bool = False
    restart_count: int = 0
    health: str = "none"
    health_output: str = ""
    image: str | None = None
    container_id: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: tuple[str, ...] = field(default=(), repr=False)
    raw: JsonObject = field(default_factory=dict, repr=False)
    containers: tuple[JsonObject, ...] = field(default=(), repr=False)

    @property
    def version(self) -> str | None:
        """The image's tag."""
        return tag_of(self.image) if self.image else None

    def instance(self) -> JsonObject:
        """One entry of a status' `instances`. Oracle Cloud shows no process ids."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "exit_code": self.exit_code,
            "started_at": self.started_at,
            "pid": None,
        }

    def stopped_on_request(self) -> Facts:
        """The same, told apart from one that ended by itself."""
        return replace(self, state="stopped")


def container_facts(instance: JsonObject, containers: Sequence[JsonObject], index: int, etag: str | None) -> Facts:
    """A container instance, by its container number `index`."""
    one = containers[index] if containers else {}
    state = _container_state(instance, one)
    shape = instance.get("shape_config") or {}
    checks = [check for check in one.get("health_checks") or () if check.get("status")]
    details = f"{one.get('lifecycle_details') or ''} {instance.get('lifecycle_details') or ''}".lower()
    ended = state not in ("running", "starting")
    return Facts(
        id=str(instance["id"]),
        name=str(instance.get("display_name") or ""),
        state=state,
        lifecycle=str(instance.get("lifecycle_state")),
        compartment=str(instance.get("compartment_id")),
        created=str(instance.get("time_created") or ""),
        started_at=one.get("time_updated") or one.get("time_created") or instance.get("time_created"),
        etag=etag,
        exit_code=one.get("exit_code") if ended else None,
        oom_killed=ended and ("oomkilled" in details.replace(" ", "") or "out of memory" in details),
        restart_count=int(one.get("container_restart_attempt_count") or 0),
        health=_health(checks) if state == "running" else "none",
        health_output="; ".join(str(check.get("status_details")) for check in checks if check.get("status_details"))[
            :500
        ],
        image=one.get("image_url"),
        container_id=one.get("id"),
        cpus=shape.get("ocpus"),
        memory_bytes=_bytes(shape.get("memory_in_gbs")),
        tags=dict(instance.get("freeform_tags") or {}),
        environment=dict(one.get("environment_variables") or {}),
        command=(*(one.get("command") or ()), *(one.get("arguments") or ())),
        raw=instance,
        containers=tuple(containers),
    )


def instance_facts(instance: JsonObject, etag: str | None = None) -> Facts:
    """A compute instance."""
    shape = instance.get("shape_config") or {}
    return Facts(
        id=str(instance["id"]),
        name=str(instance.get("display_name") or ""),
        state=state_of(instance.get("lifecycle_state")),
        lifecycle=str(instance.get("lifecycle_state")),
        compartment=str(instance.get("compartment_id")),
        created=str(instance.get("time_created") or ""),
        started_at=instance.get("time_created"),
        etag=etag,
        image=instance.get("image_id"),
        cpus=shape.get("ocpus"),
        memory_bytes=_bytes(shape.get("memory_in_gbs")),
        tags=dict(instance.get("freeform_tags") or {}),
        raw=instance,
    )


def function_facts(function: JsonObject, etag: str | None = None) -> Facts:
    """A function; it has no process between its invocations."""
    return Facts(
        id=str(function["id"]),
        name=str(function.get("display_name") or ""),
        state=state_of(function.get("lifecycle_state")),
        lifecycle=str(function.get("lifecycle_state")),
        compartment=str(function.get("compartment_id")),
        created=str(function.get("time_created") or ""),
        started_at=function.get("time_updated") or function.get("time_created"),
        etag=etag,
        image=(function.get("source_details") or {}).get("image"),  # a function may be made of other things, too
        memory_bytes=int(function["memory_in_mbs"]) * 1024**2 if function.get("memory_in_mbs") else None,
        tags=dict(function.get("freeform_tags") or {}),
        environment=dict(function.get("config") or {}),
        raw=function,
    )


def state_of(lifecycle: Any) -> str:
    """The universal word for a lifecycle state."""
    return "missing" if lifecycle in GONE else _SIMPLE.get(str(lifecycle), "failed")


def status_of(members: Sequence[Facts], desired: int) -> JsonObject:
    """The platform-neutral status of all that one target is."""
    worst = min(members, key=lambda member: _WORST_FIRST.index(member.state), default=None)
    healths = {member.health for member in members}
    versions = {member.version for member in members}
    return {
        "state": worst.state if worst else "missing",
        "desired": desired,
        "running": sum(member.state in ("running", "starting") for member in members),
        "instances": [member.instance() for member in members],
        "exit_code": worst.exit_code if worst else None,
        "oom_killed": any(member.oom_killed for member in members),
        "restart_count": sum(member.restart_count for member in members),
        "started_at": max((member.started_at for member in members if member.started_at), default=None),
        "version": versions.pop() if len(versions) == 1 else None,
        "health": next((word for word in _HEALTH_WORST_FIRST if word in healths), "none"),
    }


def _container_state(instance: JsonObject, container: JsonObject) -> str:
    lifecycle, own = instance.get("lifecycle_state"), container.get("lifecycle_state")
    if lifecycle in ("CREATING", "FAILED"):
        return state_of(lifecycle)
    if own == "ACTIVE" and lifecycle != "INACTIVE":
        return "running"
    if own in ("CREATING", "UPDATING"):
        return "starting"
    if own == "FAILED":
        return "failed"
    policy = instance.get("container_restart_policy")
    if lifecycle == "ACTIVE" and policy != "NEVER" and int(container.get("container_restart_attempt_count") or 0):
        return "restarting"
    return "stopped" if container.get("exit_code") is None else "exited"


def _health(checks: Sequence[JsonObject]) -> str:
    words = {str(check["status"]) for check in checks}
    if not words:
        return "none"
    if "UNHEALTHY" in words:
        return "unhealthy"
    return "healthy" if words == {"HEALTHY"} else "starting"


def _bytes(gibibytes: Any) -> int | None:
    return None if gibibytes is None else round(float(gibibytes) * GIB)
