"""Waiting for the state no longer than a sender would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread

from uici.model.errors import Problem, ProblemKind

_log = structlog.get_logger(__name__)
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


async def looked_up(
    look: Callable[[_Given], _Found], given: _Given, *, threads: CapacityLimiter, seconds: float
) -> _Found:
    """What a look into the state finds, in one of the threads.

    Raises Problem (unavailable) where the state hangs; the thread is kept until its connection is given up.
    """
    looking = asyncio.ensure_future(to_thread.run_sync(look, given, limiter=threads))
    done, _ = await asyncio.wait({looking}, timeout=seconds)
    if done:
        return looking.result()
    looking.add_done_callback(_note_late)
    raise Problem(
        ProblemKind.UNAVAILABLE,
        "state_silent",
        f"the state has not answered within {seconds:g} seconds",
        where="state",
        hint="send it again; /readyz says what is wrong",
    )


def _note_late(looking: asyncio.Future[Any]) -> None:
    failed = looking.cancelled() or looking.exception() is not None
    _log.warning("late_look", outcome="failed" if failed else "found")
