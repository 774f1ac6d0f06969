"""Every route that a cascade answers: `/v1/chat/completions`, `/v1/completions`, `/chat` and `/chat/stream`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from council.api.answering import (
    EventStream,
    Shape,
    as_it_is,
    events_of,
    json_response,
    trace,
    while_there,
    whole,
)
from council.api.compressing import Compressing
from council.api.door import Door
from council.api.feedback import Feedback
from council.api.reading import SESSION, read_object, to_ask
from council.api.remembering import Remembering
from council.asking import Answer, Ask, Kind
from council.errors import RefusalError
from council.monitors.metrics import Metrics
from council.monitors.windows import Windows
from council.routing.cascade import Cascade, Outcome
from council.settings import AgentsFile
from uici.model.base import JsonObject


@dataclass(frozen=True, slots=True)
class _Given:
    """What a cascade gave, and how long that took."""

    outcome: Outcome
    seconds: float


class Completing:
    """Every route that is answered by a cascade."""

    def __init__(
        self,
        settings: AgentsFile,
        door: Door,
        cascades: Mapping[str, Cascade],
        remembering: Remembering,
        feedback: Feedback,
        metrics: Metrics,
        windows: Windows,
        compressing: Compressing,
    ) -> None:
        """`windows` of the routes."""
        self._settings = settings
        self._door = door
        self._cascades = cascades
        self._remembering = remembering
        self._feedback = feedback
        self._metrics = metrics
        self._windows = windows
        self._compressing = compressing

    async def chat_completions(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        return await self._completed(request, "chat")

    async def completions(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        return await self._completed(request, "completions")

    async def chat(self, request: Request) -> Response:
        """`POST /chat`: one message of a conversation; `{message, session?, model?}`."""
        ask, session = await self._message(request, stream=False)
        given = await self._asked(request, ask)
        outcome = given.outcome
        if not isinstance(outcome.given, Answer):  # only a client that asks for a stream gets one
            raise RefusalError(500, "internal_error", "the answer is a stream")
        self._told(ask, given)
        text = outcome.given.document["choices"][0]["message"]["content"]
        return json_response({"session": session, "answer": text, "council": trace(outcome)})

    async def chat_stream(self, request: Request) -> Response:
        """`POST /chat/stream`: the same in pieces, `{delta}`; the last before `[DONE]` is `{session, council}`."""
        ask, session = await self._message(request, stream=True)
        given = await self._asked(request, ask)

        def shape(chunk: JsonObject) -> JsonObject | None:
            choices = chunk.get("choices") or [{}]
            text = (choices[0].get("delta") or {}).get("content")
            piece = {"delta": text} if text else {}
            return piece | ({"session": session, "council": chunk["council"]} if "council" in chunk else {}) or None

        return EventStream(self._events(ask, given, shape))

    async def _completed(self, request: Request, kind: Kind) -> Response:
        visitor = self._door.visitor(request)
        body = await read_object(request, self._settings.service.max_body_bytes)
        ask = to_ask(kind, body, self._settings, visitor.tenant, request.headers.get(SESSION))
        given = await self._asked(request, ask)
        outcome = given.outcome
        if not isinstance(outcome.given, Answer) or ask.stream:
            return EventStream(self._events(ask, given))
        self._told(ask, given)
        return whole(outcome.given, outcome)

    async def _message(self, request: Request, *, stream: bool) -> tuple[Ask, str]:
        """What `/chat` is asked, and in which session."""
        visitor = self._door.visitor(request)
        given = await read_object(request, self._settings.service.max_body_bytes)
        message = given.get("message")
        if not isinstance(message, str) or not message.strip():
            raise RefusalError(400, "invalid_value", "message is a text", parameter="message")
        session = given.get("session") or request.headers.get(SESSION) or uuid.uuid4().hex
        if not isinstance(session, str):
            raise RefusalError(400, "invalid_value", "session is a text", parameter="session")
        body: dict[str, Any] = {"messages": [{"role": "user", "content": message}], "stream": stream}
        if given.get("model") is not None:
            body["model"] = given["model"]
        return to_ask("chat", body, self._settings, visitor.tenant, session), session

    async def _asked(self, request: Request, ask: Ask) -> _Given:
        began = time.monotonic()
        try:
            outcome = await while_there(request, self._answered(ask))
        except RefusalError as refusal:
            self._metrics.refused(ask.route, refusal.code)
            if refusal.status >= 500:
                self._windows.of(ask.route).failed()
            raise
        given = _Given(outcome, time.monotonic() - began)
        self._metrics.answered(ask.route, given.seconds)
        await self._remembering.keep(ask)
        return given

    async def _answered(self, ask: Ask) -> Outcome:
        context = await self._compressing.compressed(ask)
        if context is None:
            return await self._cascades[ask.route].ask(ask)
        outcome = await self._cascades[ask.route].ask(context.ask)
        outcome.context = context.document
        if context.tried is not None:
            outcome.tried.insert(0, context.tried)
        self._metrics.compressed(ask.route, context.document["ratio"])
        return outcome

    def _told(self, ask: Ask, given: _Given) -> None:
        """Note an answer that is whole now, or a stream that has ended."""
        outcome, window = given.outcome, self._windows.of(ask.route)
        self._metrics.told(ask.route, outcome)
        if outcome.broke:
            window.failed()
        else:
            window.answered(given.seconds, sum((each.paid.cost for each in outcome.tried), Decimal(0)))
        if isinstance(outcome.given, Answer):
            self._feedback.gave(ask, outcome.given, outcome.tried)

    async def _events(self, ask: Ask, given: _Given, shape: Shape = as_it_is) -> AsyncGenerator[bytes, None]:
        events = events_of(ask, given.outcome, shape)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
            self._told(ask, given)
