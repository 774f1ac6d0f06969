"""Calls on single pods, on CronJobs and Jobs, and on events; importable without the SDK."""

from __future__ import annotations

from pydantic import Field

from executors.kubernetes.publishing import OnTarget, declared, publish
from executors.kubernetes.settings import Name
from uici.model.call import Risk

REPLACE = "workload.replace"
EVENTS = "workload.events"
SCHEDULE, SUSPEND, RESUME, RERUN = "schedule.state", "schedule.suspend", "schedule.resume", "job.rerun"


class Replace(OnTarget):
    """Arguments of workload.replace."""

    instance: Name | None = Field(default=None, description="a pod's name; default: all that are unhealthy")
    force: bool = Field(
        default=False,
        description="take a pod that should have gone long ago out of the API although its node has not said that its "
        "processes ended",
    )


class Events(OnTarget):
    """Arguments of workload.events."""

    limit: int = Field(default=50, ge=1, le=1000, description="how many at most, the newest")


_CALLS = (
    declared(
        REPLACE,
        "Delete a pod, or those that are unhealthy, so that their controller makes new ones",
        {
            "changed": "whether anything was deleted",
            "instances": "names of the pods that were deleted",
            "kept": "pods that look unhealthy and were left alone, and why",
        },
        Replace,
        risk=Risk.MEDIUM,
    ),
    declared(
        EVENTS,
        "The newest events of the object, of what it owns and of its pods",
        {
            "events": "at, type, reason, object, message and count of each, newest first",
            "warnings": "how many of them are warnings",
            "truncated": "whether there are more",
        },
        Events,
        mutates=False,
        timeout=60,
    ),
    declared(
        SCHEDULE,
        "Whether a CronJob starts jobs, and how the last ones ended",
        {
            "suspended": "whether it starts none",
            "schedule": "when, as crontab writes it",
            "active": "how many of its jobs run now",
            "last_scheduled_at": "when it last started one",
            "last_failed": "name and reason of the newest job that failed; null when none of those kept did",
        },
        mutates=False,
        timeout=30,
    ),
    declared(
        SUSPEND, "Let a CronJob start no more jobs", {"changed": "whether it was not so already"}, risk=Risk.MEDIUM
    ),
    declared(RESUME, "Let a CronJob start jobs again", {"changed": "whether it was not so already"}, risk=Risk.MEDIUM),
    declared(
        RERUN,
        "Make a Job again that has failed, or a CronJob's job now",
        {"changed": "always true", "job": "the new Job's name"},
        risk=Risk.HIGH,
    ),
)
PUBLISHED = publish(_CALLS)
