"""Event streams: server-sent events whose data are CloudEvents, resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from anyio import CapacityLimiter, to_thread

from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.model.scope import EVERYTHING, Scope
from uici.service.callers import Caller

if TYPE_CHECKING:
    from uici.events.log import Event
    from uici.runs.control import Control

HEARTBEAT_SECONDS = 15.0
"""Below the idle limit of the usual proxies (60 s); a reader that has gone is noticed at the latest then."""
_POLL_SECONDS = 1.0
"""How long one look at the log may block, hence how long stopping may take."""
_BATCH = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Wanted:
    """What one stream is about."""

    run: str | None
    incident: str | None
    scope: Scope
    ended: Callable[[], bool] | None
    caller: Caller


class Follower:
    """Watches the event log once for all streams of this process.

    Each stream reads its own events; this only tells them when to look. A thread is busy here only while at
    least one stream is open.
    """

    def __init__(self, control: Control, most: int) -> None:
        """At most `most` streams at once."""
        self._control = control
        self._most = most
        self._threads = CapacityLimiter(4)
        self._changed = asyncio.Event()
        self._streams = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def close(self) -> None:
        """End all streams at their next look, at once if they wait. To be called in the event loop."""
        self._closed = True
        self._changed.set()

    def raise_if_full(self) -> None:
        """Raises Problem where there are as many streams as may be."""
        if self._streams >= self._most:
            raise Problem(
                ProblemKind.UNAVAILABLE,
                "too_many_streams",
                f"{self._streams} event streams are open, which is as many as may be",
                where="service.connections.streams in platform.yml",
                hint="close others, try again later, or read the events once with `Accept: application/json`",
            )

    async def events(
        self,
        *,
        run: str | None,
        incident: str | None,
        after: int,
        ended: Callable[[], bool] | None,
        caller: Caller,
    ) -> AsyncIterator[Event | None]:
        """Events within the caller's scope that are later than `after`, as they happen; None is a heartbeat.

        Ends when `ended` (called in a thread) was true before a look that found nothing more, and when the caller's
        credential has ended; at once where there are too many.
        """
        if self._streams >= self._most:
            return  # several asked at the same time
        wanted = _Wanted(run, incident, EVERYTHING if run or incident else caller.principal.scope, ended, caller)
        self._streams += 1
        try:
            last_sent = time.monotonic()
            while not self._closed:
                await self._watched()
                changed = self._changed
                over, events, seen = await to_thread.run_sync(self._look, wanted, after, limiter=self._threads)
                for event in events:
                    yield event
                    last_sent = time.monotonic()
                after = seen
                if events:
                    continue
                if over:
                    return
                if time.monotonic() - last_sent >= HEARTBEAT_SECONDS:
                    yield None
                    last_sent = time.monotonic()
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield None
                    last_sent = time.monotonic()
        finally:
            self._streams -= 1

    async def _watched(self) -> None:
        if self._task is not None and not self._task.done():
            return
        if self._task is not None and not self._task.cancelled() and (failure := self._task.exception()):
            _log.warning("event_watch_failed", error=type(failure).__name__)
        # Found before this stream's next look: what is written after that look is after this position.
        position = await to_thread.run_sync(self._control.latest_event, limiter=self._threads)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(position))

    def _look(self, wanted: _Wanted, after: int) -> tuple[bool, list[Event], int]:
        """Whether it is over, what is new, and up to where it was looked."""
        if not wanted.caller.still_valid():
            return True, [], after
        # In this order: what is over before the look cannot write anything after it.
        over = wanted.ended is not None and wanted.ended()
        newest = self._control.latest_event()
        events = self._control.events(
            run=wanted.run, incident=wanted.incident, after=after, limit=_BATCH, scope=wanted.scope
        )
        # What was passed over is not looked at again.
        seen = max([after, *(event.seq for event in events)])
        return over, events, seen if len(events) == _BATCH else max(seen, newest)

    async def _watch(self, position: int) -> None:
        while self._streams and not self._closed:
            position, news = await to_thread.run_sync(self._wait, position, limiter=self._threads)
            if news:
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()

    def _wait(self, position: int) -> tuple[int, bool]:
        self._control.wait_for_events(position, _POLL_SECONDS)
        events = self._control.events(run=None, incident=None, after=position, limit=_BATCH)
        return (events[-1].seq, True) if events else (position, False)


def cloud_event(event: Event) -> JsonObject:
    """CloudEvents 1.0, structured mode: https://github.com/cloudevents/spec."""
    subject = f"run/{event.run}" if event.run else f"incident/{event.incident}" if event.incident else "uici"
    document: JsonObject = {
        "specversion": "1.0",
        "id": str(event.seq),
        "source": "/uici",
        "type": f"uici.{event.type}",
        "subject": subject,
        "time": event.at.isoformat(),
        "datacontenttype": "application/json",
    }
    extensions = {
        "run": event.run,
        "incident": event.incident,
        "environment": event.environment,
        "target": event.target,
    }
    return document | {name: value for name, value in extensions.items() if value is not None} | {"data": event.data}


async def server_sent(events: AsyncIterator[Event | None], position: int) -> AsyncIterator[str]:
    """The text of the stream. JSON without line breaks needs no further quoting in `data:`.

    It begins with the position that it starts at: a reader that loses the connection before the first event resumes
    there, and misses nothing.
    """
    yield f"retry: 1000\nid: {position}\n\n"
    async for event in events:
        if event is None:
            yield ": heartbeat\n\n"
        else:
            kind = event.type.replace("\r", " ").replace("\n", " ")
            yield f"id: {event.seq}\nevent: {kind}\ndata: {json.dumps(cloud_event(event), separators=(',', ':'))}\n\n"
