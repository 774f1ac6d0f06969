"""What one container is: the parts of `inspect` that our answers are made of, parsed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executors.images import tag_of
from uici.model.base import JsonObject

LABEL_PREVIOUS_IMAGE = "io.uici.previous-image"
LABEL_PREVIOUS_IMAGE_ID = "io.uici.previous-image-id"
LABEL_DEPLOYED_AT = "io.uici.deployed-at"

_WORST_FIRST = ("failed", "exited", "restarting", "stopped", "paused", "starting", "running")
_HEALTH_WORST_FIRST = ("unhealthy", "starting", "healthy")


@dataclass(frozen=True)
class Facts:
    """One container, as the engine described it."""

    id: str
    name: str
    state: str
    status: str
    """Docker's own word for the state."""
    exit_code: int | None
    started_at: str | None
    finished_at: str | None
    pid: int | None
    oom_killed: bool
    restart_count: int
    health: str
    health_output: str
    failing_streak: int
    image: str
    image_id: str
    created: str
    nano_cpus: int
    memory: int
    memory_swap: int
    auto_remove: bool
    labels: Mapping[str, str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    command: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, inspected: Mapping[str, Any]) -> Facts:
        """Parse the answer of `containers/{id}/json`."""
        state, config, host = inspected["State"], inspected["Config"], inspected["HostConfig"]
        running = bool(state.get("Running"))
        health = state.get("Health") or {}
        checks = health.get("Log") or [{}]
        period, quota = host.get("CpuPeriod") or 100_000, host.get("CpuQuota") or 0
        return cls(
            id=inspected["Id"],
            name=inspected["Name"].lstrip("/"),
            state=_state(inspected),
            status=str(state.get("Status", "")),
            exit_code=None if running or state.get("Status") == "created" else int(state.get("ExitCode", 0)),
            started_at=_time(state.get("StartedAt")),
            finished_at=_time(state.get("FinishedAt")),
            pid=int(state.get("Pid") or 0) or None,
            oom_killed=bool(state.get("OOMKilled")),
            restart_count=int(inspected.get("RestartCount") or 0),
            # The last word of a health check says nothing of a container that has ended since.
            health=_health(health) if running else "none",
            health_output=" ".join(str(checks[-1].get("Output", "")).split())[:500],
            failing_streak=int(health.get("FailingStreak") or 0),
            image=str(config.get("Image", "")),
            image_id=str(inspected.get("Image", "")),
            created=str(inspected.get("Created", "")),
            nano_cpus=int(host.get("NanoCpus") or (quota * 1_000_000_000 // period if quota > 0 else 0)),
            memory=int(host.get("Memory") or 0),
            memory_swap=int(host.get("MemorySwap") or 0),
            auto_remove=bool(host.get("AutoRemove")),
            labels=dict(config.get("Labels") or {}),
            environment=variables(config.get("Env") or ()),
            command=(str(inspected.get("Path", "")), *(str(part) for part in inspected.get("Args") or ())),
        )

    @property
    def version(self) -> str | None:
        """The image's tag."""
        return tag_of(self.image)

    def instance(self) -> JsonObject:
        """One entry of a status' `instances`."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "exit_code": self.exit_code,
            "started_at": self.started_at,
            "pid": self.pid,
        }


def variables(entries: Iterable[str]) -> dict[str, str]:
    """`NAME=value` entries as a mapping; an entry without `=` takes the variable away and is none."""
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def status_of(members: Sequence[Facts], desired: int) -> JsonObject:
    """The platform-neutral status of all containers of one target."""
    if not members:
        return {
            "state": "missing",
            "desired": desired,
            "running": 0,
            "instances": [],
            "exit_code": None,
            "oom_killed": False,
            "restart_count": 0,
            "started_at": None,
            "version": None,
            "health": "none",
        }
    worst = min(members, key=lambda member: _WORST_FIRST.index(member.state))
    healths = {member.health for member in members}
    versions = {member.version for member in members}
    return {
        "state": worst.state,
        "desired": desired,
        "running": sum(member.state in ("running", "starting") for member in members),
        "instances": [member.instance() for member in members],
        "exit_code": worst.exit_code,
        "oom_killed": any(member.oom_killed for member in members),
        "restart_count": sum(member.restart_count for member in members),
        "started_at": max((member.started_at for member in members if member.started_at), default=None),
        "version": versions.pop() if len(versions) == 1 else None,
        "health": next((word for word in _HEALTH_WORST_FIRST if word in healths), "none"),
    }


def _state(inspected: Mapping[str, Any]) -> str:
    state = inspected["State"]
    word = state.get("Status")
    simple = {
        "running": "running",
        "paused": "paused",
        "restarting": "restarting",
        "removing": "stopped",
        "dead": "failed",
    }
    if word in simple:
        return simple[word]
    if state.get("Error"):
        return "failed"
    if word == "created":
        return "stopped"
    policy = inspected["HostConfig"].get("RestartPolicy") or {}
    tries = int(policy.get("MaximumRetryCount") or 0)
    if policy.get("Name") == "on-failure" and tries and int(inspected.get("RestartCount") or 0) >= tries:
        return "failed"
    return "exited"


def _health(health: Mapping[str, Any]) -> str:
    word = str(health.get("Status") or "none")
    return word if word in _HEALTH_WORST_FIRST else "none"


def _time(text: str | None) -> str | None:
    return None if not text or text.startswith("0001-") else text
