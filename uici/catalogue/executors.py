"""Executors found by entry point; their SDKs need not be installed."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

import structlog

from uici.ports import Executor

GROUP = "uici.executors"

_log = structlog.get_logger(__name__)


def discover_executors() -> dict[str, type[Executor]]:
    """Every installed executor's class by platform. One that cannot be imported is left out and logged."""
    found: dict[str, type[Executor]] = {}
    for entry in entry_points(group=GROUP):
        try:
            executor = cast("type[Executor]", entry.load())
        except (ImportError, AttributeError) as error:
            # A third party's broken distribution must not stop the platforms that work.
            _log.warning("executor_unavailable", entry_point=entry.name, value=entry.value, reason=str(error))
            continue
        found[executor.platform] = executor
    return found
