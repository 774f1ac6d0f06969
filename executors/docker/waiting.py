"""Waiting until a container that was just started has proved itself."""

from __future__ import annotations

import time

from executors.deadline import Deadline
from executors.docker.facts import Facts
from executors.docker.lookup import Lookup
from executors.probes import Probe, run_probe

SETTLE_SECONDS = 1.0
"""Without any health check a container counts as well when it has run so long."""
_PAUSE_SECONDS = 0.1


def wait_until_well(lookup: Lookup, container_id: str, probe: Probe | None, deadline: Deadline) -> str | None:
    """None when the container is well, else why not: it ended, Docker's check or the probe failed, or time ran out.

    Raises CallError when the engine cannot be asked.
    """
    begun = time.monotonic()
    last = "it was not looked at"
    while True:
        found = lookup.inspect(container_id)
        if found is None:
            return "it has disappeared"
        facts = Facts.of(found)
        if facts.state not in ("running", "starting"):
            return f"it is {facts.state} with exit code {facts.exit_code}"
        if facts.restart_count:
            return f"it ended and was restarted {facts.restart_count} times"
        if facts.health == "unhealthy":
            return f"Docker's health check says unhealthy: {facts.health_output or 'no output'}"
        if facts.health == "starting":
            last = "Docker's health check still says starting"
        else:
            result = run_probe(probe) if probe is not None else None
            if result is not None and not result["ok"]:
                last = f"{result['name']}: {result['detail']}"
            elif facts.health == "healthy" or result is not None or time.monotonic() - begun >= SETTLE_SECONDS:
                return None
            else:
                last = "it had not yet run for long enough"
        if deadline.left() == 0:
            return f"not healthy in time: {last}"
        time.sleep(_PAUSE_SECONDS)
