"""Logs, resource usage, and programs run for a look: whatever takes a service of its own to read."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from executors.deadline import Deadline
from executors.diagnostics import LookLimits, Output
from executors.oci.connection import Cloud
from executors.oci.facts import Facts
from executors.oci.models import build
from executors.oci.settings import OciBinding
from executors.oci.work import Work
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

MAX_LINE = 4096
_CONSOLE_BYTES = 1024 * 1024
_LOG_DAYS = 1
_METRIC_MINUTES = 10
_NAMESPACES = {"instance": "oci_computeagent", "instance_pool": "oci_computeagent"}
_OF_CONTAINERS = "oci_computecontainerinstance"
_ENDED = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELED"})


def logs_of(cloud: Cloud, work: Work, binding: OciBinding, members: Sequence[Facts], lines: int) -> JsonObject:
    """The last lines; of several instances each line begins with `[name]`. Raises CallError."""
    if binding.log is not None:
        found = _from_logging(cloud, binding, lines + 1)
        return {"lines": found[-lines:], "truncated": len(found) > lines}
    several = len(members) > 1
    collected: list[str] = []
    for one in members:
        text = _of_container(cloud, one) if binding.is_container else _of_console(cloud, work, one)
        mark = f"[{one.name}] " if several else ""
        collected += [f"{mark}{line}"[:MAX_LINE] for line in text.splitlines() if line]
    return {"lines": collected[-lines:], "truncated": len(collected) > lines}


def _of_container(cloud: Cloud, one: Facts) -> str:
    answer = cloud.ask("containers", "retrieve_logs", one.container_id)
    return answer.content.decode("utf-8", "replace")


def _of_console(cloud: Cloud, work: Work, one: Facts) -> str:
    """The serial console: a record of it is made, read and deleted again; the instance is not touched."""
    details = build("core", "CaptureConsoleHistoryDetails", {"instance_id": one.id, "display_name": "uici"})
    record = str(cloud.tell("compute", "capture_console_history", details).data["id"])
    deadline = Deadline(60.0)
    try:

        def made() -> bool:
            state = cloud.ask("compute", "get_console_history", record).data.get("lifecycle_state")
            if state == "FAILED":
                raise CallError(
                    FailureKind.PERMANENT, "console_not_readable", f"the console of {one.name!r} cannot be recorded"
                )
            return bool(state == "SUCCEEDED")

        work.until(made, f"the console of {one.name!r} is recorded", deadline)
        answer = cloud.ask("compute", "get_console_history_content", record, length=_CONSOLE_BYTES)
        return answer.content.decode("utf-8", "replace")
    finally:
        with suppress(CallError):  # Oracle Cloud deletes old records by itself
            cloud.tell("compute", "delete_console_history", record)


def _from_logging(cloud: Cloud, binding: OciBinding, lines: int) -> list[str]:
    now = datetime.now(UTC)
    place = f"{cloud.compartment(binding.compartment)}/{binding.log_group}/{binding.log}"
    details = build(
        "loggingsearch",
        "SearchLogsDetails",
        {
            "time_start": (now - timedelta(days=_LOG_DAYS)).isoformat(),
            "time_end": now.isoformat(),
            "search_query": f'search "{place}" | sort by datetime desc',
            "is_return_field_info": False,
        },
    )
    found: JsonObject = cloud.ask("logs", "search_logs", details, limit=min(lines, 1000)).data
    return [_line(one.get("data") or {})[:MAX_LINE] for one in reversed(found.get("results") or ())]


def _line(data: JsonObject) -> str:
    content = data.get("logContent") or {}
    inner = content.get("data") if isinstance(content, dict) else None
    if isinstance(inner, dict):
        return str(inner.get("message") or inner)
    return str(data.get("message") or content or data)


def usage_of(cloud: Cloud, binding: OciBinding, members: Sequence[Facts]) -> JsonObject:
    """What the running ones use together, by the newest measurements of the last minutes. Raises CallError."""
    cpu, memory, limit = 0.0, 0, 0
    for one in members:
        namespace = _NAMESPACES.get(binding.kind, _OF_CONTAINERS)
        cpus = _newest(cloud, one, namespace, "CpuUtilization")
        used = _newest(cloud, one, namespace, "MemoryUtilization")
        cpu += (cpus or 0.0) * (one.cpus or 1.0)
        memory += round((used or 0.0) / 100 * (one.memory_bytes or 0))
        limit += one.memory_bytes or 0
    return {
        "cpu_percent": round(cpu, 2),
        "memory_bytes": memory,
        "memory_limit_bytes": limit or None,
        "memory_percent": round(100 * memory / limit, 2) if limit else None,
        "processes": None,
    }


def _newest(cloud: Cloud, one: Facts, namespace: str, metric: str) -> float | None:
    now = datetime.now(UTC)
    details = build(
        "monitoring",
        "SummarizeMetricsDataDetails",
        {
            "namespace": namespace,
            "query": f'{metric}[1m]{{resourceId = "{one.id}"}}.mean()',
            "start_time": (now - timedelta(minutes=_METRIC_MINUTES)).isoformat(),
            "end_time": now.isoformat(),
        },
    )
    found = cloud.ask("monitoring", "summarize_metrics_data", one.compartment, details).data
    points = [point for series in found for point in series.get("aggregated_datapoints") or ()]
    newest = max(points, key=lambda point: str(point.get("timestamp")), default=None)
    return None if newest is None else float(newest["value"])


def diagnose(cloud: Cloud, one: Facts, argv: Sequence[str], limits: LookLimits, deadline: Deadline) -> Output:
    """Run `argv` on an instance by Run Command. Raises CallError; what takes too long is cancelled.

    The agent gives the text to a shell, so every argument is quoted for it.
    """
    seconds = max(1, round(limits.diagnostic_seconds))
    details = build(
        "compute_instance_agent",
        "CreateInstanceAgentCommandDetails",
        {
            "compartment_id": one.compartment,
            "display_name": "uici diagnostic",
            "execution_time_out_in_seconds": seconds,
            "target": {"instance_id": one.id},
            "content": {
                "source": {"source_type": "TEXT", "text": f"{shlex.join(argv)}\n"},
                "output": {"output_type": "TEXT"},
            },
        },
    )
    command = str(cloud.tell("agent", "create_instance_agent_command", details).data["id"])
    patience = Deadline(min(seconds + 60.0, deadline.left()))
    while True:
        # Until the agent has asked for its work there is no execution to be seen.
        seen = cloud.find("agent", "get_instance_agent_command_execution", command, one.id)
        execution: JsonObject = seen.data if seen is not None else {}
        if execution.get("lifecycle_state") in _ENDED:
            break
        if patience.left() == 0:
            with suppress(CallError):
                cloud.tell("agent", "cancel_instance_agent_command", command)
            return Output(content=b"", exit_code=None, timed_out=True)
        time.sleep(min(cloud.settings.poll_seconds, max(0.01, patience.left())))
    content = execution.get("content") or {}
    said = str(content.get("text") or content.get("message") or "").encode("utf-8", "surrogatepass")
    timed_out = execution.get("lifecycle_state") in ("TIMED_OUT", "CANCELED")
    return Output(
        content=said[: limits.output_bytes],
        exit_code=None if timed_out else content.get("exit_code"),
        cut=len(said) > limits.output_bytes,
        timed_out=timed_out,
    )
