"""The one way in which tests wait: look until it is as wanted, and say what was seen when it never was."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 90.0
"""Far longer than anything takes on a busy machine, and shorter than a test may last."""
_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.25
_SHARE = 20
"""A pause is at most this part of what has been waited: what comes is seen that much later."""

Seen = TypeVar("Seen")


def until(
    look: Callable[[], Seen | None],
    what: str,
    explain: Callable[[], str] | None = None,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> Seen:
    """The first true value of `look`.

    Raises AssertionError that tells `what` was waited for, what was seen last, and what `explain` says then. Between
    two looks it rests for as long as a look takes, and the longer the longer it has waited, so that the looks leave the
    machine to what is waited for.
    """
    started = time.monotonic()
    deadline = started + seconds
    while True:
        begun = time.monotonic()
        seen = look()
        if seen:
            return seen
        now = time.monotonic()
        if now >= deadline:
            known = f"\n{explain()}" if explain is not None else ""
            raise AssertionError(f"waited {seconds:g} s in vain for: {what}; last seen: {seen!r:.2000}{known}")
        patient = min((now - started) / _SHARE, _LONGEST_PAUSE_SECONDS)
        time.sleep(max(_PAUSE_SECONDS, now - begun, patient))
