"""Finding the platforms that the demo can be played on: by entry point, as executors are found."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from uici.model.errors import Problem, ProblemKind
from uici.ports import DemoGround

GROUP = "uici.demos"


def ground_on(platform: str) -> type[DemoGround]:
    """The demo's ground on a platform. Raises Problem (INVALID) when there is none, or its SDK is not installed."""
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    if platform not in entries:
        raise Problem(
            ProblemKind.INVALID,
            "no_demo",
            f"there is no demo on the platform {platform!r:.60}",
            where="--platform",
            allowed=tuple(sorted(entries)),
        )
    try:
        return cast("type[DemoGround]", entries[platform].load())
    except ImportError as error:
        raise Problem(
            ProblemKind.INVALID, "demo_needs_more", f"the demo on {platform} cannot begin: {error}", where="--platform"
        ) from None
