"""The routes of the council."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from council.api.answering import (
    HEADERS,
    ClientLeftError,
    EventStream,
    events_of,
    json_response,
    refused,
    while_there,
    whole,
)
from council.api.canary import CanaryRoutes
from council.api.door import Door
from council.api.feedback import Feedback
from council.api.reading import SESSION, read_object, to_ask
from council.api.remembering import Remembering
from council.asking import Answer, Ask, Backend, BackendError, Kind
from council.errors import RefusalError
from council.memory.facts import Facts
from council.monitors.metrics import Metrics
from council.routing.cascade import Cascade, Outcome
from council.settings import AgentsFile
from uici.model.base import JsonObject

Endpoint = Callable[[Request], Awaitable[Response]]
_CLIENT_LEFT = 499
"""What nginx writes down of clients that did not wait; nobody receives it."""


class Api:
    """What the routes are made of."""

    def __init__(
        self,
        settings: AgentsFile,
        door: Door,
        cascades: Mapping[str, Cascade],
        embedder: Backend | None,
        facts: Facts,
        feedback: Feedback,
        metrics: Metrics,
        canary: CanaryRoutes | None,
    ) -> None:
        self._canary = canary
        self._remembering = Remembering(settings, door, cascades, facts)
        self._feedback = feedback
        metrics.follow(facts_waiting=lambda: facts.waiting, requests_in_flight=lambda: self._busy)
        self._settings = settings
        self._door = door
        self._cascades = cascades
        self._embedder = embedder
        self._metrics = metrics
        self._busy = 0
        self._began = int(time.time())

    def app(self) -> Starlette:
        """The application."""
        listed = [
            Route("/v1/chat/completions", self._bounded(self.chat_completions), methods=["POST"]),
            Route("/v1/completions", self._bounded(self.completions), methods=["POST"]),
            Route("/v1/embeddings", self._bounded(self.embeddings), methods=["POST"]),
            Route("/chat", self._bounded(self._remembering.chat), methods=["POST"]),
            Route("/feedback", self.feedback, methods=["POST"]),
            Route("/memory", self._remembering.tell, methods=["POST"]),
            Route("/memory", self._remembering.listed, methods=["GET"]),
            Route("/memory", self._remembering.forget, methods=["DELETE"]),
            Route("/memory/{id}", self._remembering.forget, methods=["DELETE"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name}", self.model, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/metrics", self.figures, methods=["GET"]),
        ]
        if self._canary is not None:
            listed += [
                Route("/canary", self._canary.shown, methods=["GET"]),
                Route("/canary", self._canary.put, methods=["PUT"]),
                Route("/canary/promote", self._canary.promote, methods=["POST"]),
                Route("/canary/replay", self._bounded(self._canary.replay), methods=["POST"]),
            ]
        return Starlette(routes=listed, exception_handlers=_HANDLERS)

    async def chat_completions(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        return await self._completed(request, "chat")

    async def completions(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        return await self._completed(request, "completions")

    async def embeddings(self, request: Request) -> Response:
        """`POST /v1/embeddings`."""
        self._door.visitor(request)
        body = await read_object(request, self._settings.service.max_body_bytes)
        if not isinstance(body.get("input"), str | list) or not body["input"]:
            raise RefusalError(400, "invalid_value", "input is a text or a list", parameter="input")
        if self._embedder is None:
            raise RefusalError(404, "no_embeddings", "no backend gives embeddings; agents.yml: embeddings names one")
        try:
            answer = await while_there(request, self._embedder.embed(body))
        except BackendError as error:
            raise RefusalError(error.status or 502, error.code, str(error)) from None
        return json_response(answer.document)

    async def feedback(self, request: Request) -> Response:
        """`POST /feedback`: `{answer, right}`; whether the answer with this id was right."""
        visitor = self._door.visitor(request)
        return await self._feedback.told(await read_object(request, self._settings.service.max_body_bytes), visitor)

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`: the routes."""
        self._door.visitor(request)
        return json_response({"object": "list", "data": [self._model(name) for name in self._settings.routes]})

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/NAME`."""
        self._door.visitor(request)
        name = request.path_params["name"]
        if name not in self._settings.routes:
            raise RefusalError(404, "model_not_found", f"there is no route {name!r:.100}", parameter="model")
        return json_response(self._model(name))

    async def health(self, request: Request) -> Response:
        """`GET /health`: the process answers."""
        return json_response({"status": "ok"})

    async def figures(self, request: Request) -> Response:
        """`GET /metrics`, as Prometheus reads it."""
        self._door.visitor(request)
        content, kind = await asyncio.to_thread(self._metrics.exposition)
        return Response(content, media_type=None, headers={**HEADERS, "content-type": kind})

    def _model(self, name: str) -> JsonObject:
        return {"id": name, "object": "model", "created": self._began, "owned_by": "council"}

    async def _completed(self, request: Request, kind: Kind) -> Response:
        visitor = self._door.visitor(request)
        body = await read_object(request, self._settings.service.max_body_bytes)
        ask = to_ask(kind, body, self._settings, visitor.tenant, request.headers.get(SESSION))
        began = time.monotonic()
        try:
            outcome = await while_there(request, self._cascades[ask.route].ask(ask))
        except RefusalError as refusal:
            self._metrics.refused(ask.route, refusal.code)
            raise
        self._metrics.answered(ask.route, time.monotonic() - began)
        await self._remembering.keep(ask)
        if not isinstance(outcome.given, Answer) or ask.stream:
            return EventStream(self._told(ask, outcome))
        self._metrics.told(ask.route, outcome)
        self._feedback.gave(ask, outcome.given, outcome.tried)
        return whole(outcome.given, outcome.tried)

    async def _told(self, ask: Ask, outcome: Outcome) -> Any:
        events = events_of(ask, outcome)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
            self._metrics.told(ask.route, outcome)

    def _bounded(self, endpoint: Endpoint) -> Endpoint:
        """Refuse what is more than can be done at once, before it is read."""

        async def bounded(request: Request) -> Response:
            if self._busy >= self._settings.service.requests_at_once:
                raise RefusalError(503, "too_busy", "too many requests are under way; try again", retry_seconds=1)
            self._busy += 1
            try:
                response = await endpoint(request)
            except BaseException:
                self._busy -= 1
                raise
            if isinstance(response, EventStream):
                response.at_end = self._leave
            else:
                self._leave()
            return response

        return bounded

    def _leave(self) -> None:
        self._busy -= 1


async def _on_refusal(request: Request, error: RefusalError) -> Response:
    return refused(error)


async def _on_left(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_LEFT)


async def _on_http(request: Request, error: HTTPException) -> Response:
    return refused(
        RefusalError(error.status_code, "no_such_route", f"{request.method} {request.url.path}: {error.detail}")
    )


async def _on_any(request: Request, error: Exception) -> Response:
    return refused(RefusalError(500, "internal_error", "the council failed at this request; its log says why"))


_HANDLERS: Mapping[Any, Any] = {
    RefusalError: _on_refusal,
    ClientLeftError: _on_left,
    HTTPException: _on_http,
    Exception: _on_any,
}
