"""Calls that only look; importable without the SDK."""

from __future__ import annotations

from pydantic import Field

from executors.diagnostics import DIAGNOSE_RETURNS
from executors.haproxy import MAX_WEIGHT, SET_RETURNS, STATE_RETURNS, Traffic
from executors.kubernetes.publishing import OnTarget, declared, publish
from executors.parameters import Diagnostic, LogLines, Selection, SnapshotLines
from executors.snapshot import SNAPSHOT_RETURNS
from uici.model.call import Risk

STATUS, HEALTH, LOGS, USAGE, DESCRIBE, LIST, DIAGNOSE, SNAPSHOT, BACKEND, SET_BACKEND = (
    "workload.status",
    "workload.health",
    "workload.logs",
    "workload.usage",
    "workload.describe",
    "workload.list",
    "workload.diagnose",
    "workload.snapshot",
    "workload.backend",
    "workload.set_backend",
)


class Logs(OnTarget, LogLines):
    """Arguments of workload.logs."""


class Snapshot(OnTarget, SnapshotLines):
    """Arguments of workload.snapshot."""


class ListAll(OnTarget, Selection):
    """Arguments of workload.list."""


class Diagnose(OnTarget, Diagnostic):
    """Arguments of workload.diagnose."""


class SetBackend(OnTarget):
    """Arguments of workload.set_backend."""

    state: Traffic
    weight: int | None = Field(default=None, ge=0, le=MAX_WEIGHT, description="absent: as it is")


STATUS_RETURNS = {
    "state": "running, starting, stopped, exited, failed, paused, restarting or missing; the worst pod's. A node that "
    "takes no pods is paused",
    "desired": "how many pods there should be",
    "running": "how many run",
    "instances": "id (the pod's uid), name, state, exit_code, started_at of each; pid is null",
    "exit_code": "the highest of those that ended, or ended before they were restarted",
    "oom_killed": "whether the kernel killed one of them for memory",
    "restart_count": "restarts by the kubelet",
    "started_at": "of the container started last",
    "version": "the image's tag",
    "health": "of the readiness probes: healthy, unhealthy, starting, or none",
    "reasons": "what is wrong, by name: image_pull_failed, container_not_created, crash_looping, oom_killed, "
    "exited_with_error, unschedulable, volume_unbound, volume_not_mounted, quota_exceeded, pods_refused, evicted, "
    "readiness_failing, liveness_failing, startup_failing, rollout_stuck, job_failed, node_not_ready, "
    "node_memory_pressure, node_disk_pressure, node_pid_pressure, sandbox_failed, pod_failed, waiting",
    "problems": "the same in words: reason, object, what the cluster says of it",
}

_READS = (
    declared(
        STATUS, "State of a workload's pods, of a node or of a schedule", STATUS_RETURNS, timeout=30, mutates=False
    ),
    declared(
        HEALTH,
        "Whether all pods run and are ready, and the binding's probe passes",
        {"healthy": "the answer", "state": "as workload.status", "checks": "name, ok, detail of each check"},
        mutates=False,
        timeout=90,
    ),
    declared(
        LOGS,
        "The last lines of all pods, those before a container's last restart included",
        {
            "lines": "newest last, each cut at 4096 characters; with several pods each begins with [pod]",
            "truncated": "older lines exist",
        },
        Logs,
        mutates=False,
        timeout=60,
    ),
    declared(
        USAGE,
        "What the pods use now, from the metrics API, else from the kubelets",
        {
            "cpu_percent": "100 = one core",
            "memory_bytes": "the working set",
            "memory_limit_bytes": "null without a limit",
            "memory_percent": "of the limit",
            "processes": "how many; null where nobody tells: the metrics API never does",
        },
        mutates=False,
        timeout=60,
    ),
    declared(
        DESCRIBE,
        "Configuration and status",
        {
            "configuration": "image, version, replicas, cpus, memory_bytes, environment, command",
            "previous_version": "what workload.rollback would deploy",
            "deployed_at": "when workload.deploy or workload.rollback last changed the image",
            "deployment": "what workload.deploy takes as `record` to bring exactly this back",
            "status": "as workload.status",
        },
        mutates=False,
        timeout=30,
    ),
    declared(
        LIST,
        "The workloads of the target's namespace, and pods that belong to none",
        {
            "services": "id, name, state, image and version of each, by name",
            "total": "how many there are, of the wanted state when one was given",
            "running": "how many of them run",
            "truncated": "whether there are more than are listed",
        },
        ListAll,
        mutates=False,
        timeout=60,
    ),
    declared(
        DIAGNOSE,
        "Run one of the binding's diagnostics in the first pod that runs",
        DIAGNOSE_RETURNS,
        Diagnose,
        mutates=False,
        timeout=330,
    ),
    declared(
        SNAPSHOT,
        "Everything that can be seen of the pods at once, masked; what cannot be seen says why",
        SNAPSHOT_RETURNS,
        Snapshot,
        mutates=False,
        timeout=180,
    ),
    declared(
        BACKEND,
        "The state of the binding's server at its load balancer",
        STATE_RETURNS,
        mutates=False,
        timeout=130,
    ),
)
_BALANCER = (
    declared(
        SET_BACKEND,
        "Give the binding's server at its load balancer traffic, no new sessions, or none",
        SET_RETURNS,
        SetBackend,
        risk=Risk.MEDIUM,
        timeout=250,
        in_flight=5,
    ),
)
PUBLISHED = publish((*_READS, *_BALANCER))
