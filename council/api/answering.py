"""Answers and streams as clients of the OpenAI API know them, and giving up when a client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from council.asking import Answer, Ask, BackendError, as_chunks
from council.errors import RefusalError
from council.routing.cascade import Outcome
from uici.model.base import JsonObject
from uici.model.masking import mask

T = TypeVar("T")
Shape = Callable[[JsonObject], JsonObject | None]
"""What is sent of a chunk; None for nothing."""
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_log = structlog.get_logger(__name__)


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is given up when the client leaves. The body has to be read before.

    Raises ClientLeftError, and what `work` raises.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeftError
    finally:
        for task in (working, leaving):
            task.cancel()
        # What was under way is closed before anything else happens.
        await asyncio.gather(working, leaving, return_exceptions=True)


def whole(answer: Answer, outcome: Outcome) -> Response:
    """A whole answer, with what each stage did in the member `council`."""
    return json_response({**answer.document, "council": trace(outcome)})


def json_response(document: JsonObject, status: int = 200) -> Response:
    """A document."""
    return Response(to_json(document), status, media_type="application/json", headers=HEADERS)


def refused(refusal: RefusalError) -> Response:
    """A refusal."""
    headers = dict(HEADERS)
    if refusal.retry_seconds is not None:
        headers["retry-after"] = str(max(1, round(refusal.retry_seconds)))
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    content = to_json(mask(refusal.document()))
    return Response(content, refusal.status, media_type="application/json", headers=headers)


def trace(outcome: Outcome) -> JsonObject:
    """What each stage did, and how the conversation was compressed, if it was."""
    context = {} if outcome.context is None else {"context": outcome.context}
    return {"stages": [each.document() for each in outcome.tried], **context}


class EventStream(Response):
    """Server-sent events; the stream is closed as soon as the client leaves.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(media_type="text/event-stream", headers=HEADERS)
        del self.headers["content-length"]
        self._events = events
        self.at_end: Callable[[], None] = lambda: None
        """Called once nothing more is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events, or what the client stays for."""
        sending = asyncio.ensure_future(self._sent(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            # The backend's connection is closed before anything else happens.
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._events.aclose()
            self.at_end()
        if sending.done() and not sending.cancelled():
            sending.result()

    async def _sent(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def as_it_is(chunk: JsonObject) -> JsonObject:
    """A chunk in the form of the OpenAI API."""
    return chunk


async def events_of(ask: Ask, outcome: Outcome, shape: Shape = as_it_is) -> AsyncGenerator[bytes, None]:
    """The events of a stream. A failure becomes one event with an error; neither an answer nor `[DONE]` follows it."""
    chunks = as_chunks(ask, outcome.given) if isinstance(outcome.given, Answer) else outcome.given
    wants_usage = bool((ask.body.get("stream_options") or {}).get("include_usage"))
    ended: set[int] = set()
    held: list[JsonObject] = []
    try:
        async for chunk in chunks:
            choices = chunk.get("choices") or ()
            if not choices and chunk.get("usage") and not wants_usage:
                continue
            ended.update(choice.get("index", 0) for choice in choices if choice.get("finish_reason"))
            if len(ended) < ask.answers * ask.prompts:
                if (shown := shape(chunk)) is not None:
                    yield _event(shown)
            else:
                # What a stream costs is known when it has ended; by then nobody waits for text.
                held.append(chunk)
        for number, chunk in enumerate(held):
            shown = shape({**chunk, "council": trace(outcome)} if number == 0 else chunk)
            if shown is not None:
                yield _event(shown)
    except BackendError as error:
        _log.warning("stream_failed", route=ask.route, error=str(error))
        document = mask(RefusalError(502, error.code, str(error)).document())
        yield _event(document)
        return
    finally:
        await chunks.aclose()
    yield b"data: [DONE]\n\n"


def _event(document: JsonObject) -> bytes:
    return b"data: " + to_json(document) + b"\n\n"


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
