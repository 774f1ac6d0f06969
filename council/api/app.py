"""The routes of the council."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from council.api.answering import HEADERS, ClientLeftError, EventStream, json_response, refused
from council.api.canary import CanaryRoutes
from council.api.completing import Completing
from council.api.door import Door
from council.api.embedding import Embedding
from council.api.feedback import Feedback
from council.api.reading import read_object
from council.api.remembering import Remembering
from council.api.status import Life, StatusRoutes
from council.errors import RefusalError
from council.memory.fact_store import StoreAwayError
from council.monitors.metrics import Metrics
from council.settings import AgentsFile
from uici.model.base import JsonObject

_log = structlog.get_logger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]
_CLIENT_LEFT = 499
"""What nginx writes down of clients that did not wait; nobody receives it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes are made of."""

    settings: AgentsFile
    door: Door
    completing: Completing
    embedding: Embedding
    remembering: Remembering
    feedback: Feedback
    metrics: Metrics
    status: StatusRoutes
    canary: CanaryRoutes | None
    life: Life


class Api:
    """The application of one configuration."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._door = parts.door
        self._life = parts.life

    def app(self) -> Starlette:
        """The application."""
        parts = self._parts
        listed = [
            Route("/v1/chat/completions", self._bounded(parts.completing.chat_completions), methods=["POST"]),
            Route("/v1/completions", self._bounded(parts.completing.completions), methods=["POST"]),
            Route("/v1/embeddings", self._bounded(parts.embedding.embeddings), methods=["POST"]),
            Route("/chat", self._bounded(parts.completing.chat), methods=["POST"]),
            Route("/chat/stream", self._bounded(parts.completing.chat_stream), methods=["POST"]),
            Route("/feedback", self.feedback, methods=["POST"]),
            Route("/memory", parts.remembering.tell, methods=["POST"]),
            Route("/memory", parts.remembering.listed, methods=["GET"]),
            Route("/memory", parts.remembering.forget, methods=["DELETE"]),
            Route("/memory/{id}", parts.remembering.forget, methods=["DELETE"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name}", self.model, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/readyz", parts.status.ready, methods=["GET"]),
            Route("/status/production", parts.status.status, methods=["GET"]),
            Route("/metrics", self.figures, methods=["GET"]),
            Route("/metrics/production", parts.status.figures, methods=["GET"]),
        ]
        if parts.canary is not None:
            listed += [
                Route("/canary", parts.canary.shown, methods=["GET"]),
                Route("/canary", parts.canary.put, methods=["PUT"]),
                Route("/canary/promote", parts.canary.promote, methods=["POST"]),
                Route("/canary/replay", self._bounded(parts.canary.replay), methods=["POST"]),
            ]
        return Starlette(routes=listed, exception_handlers=_HANDLERS)

    async def feedback(self, request: Request) -> Response:
        """`POST /feedback`: `{answer, right}`; whether the answer with this id was right."""
        visitor = self._door.visitor(request)
        return await self._parts.feedback.told(
            await read_object(request, self._settings.service.max_body_bytes), visitor
        )

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
        content, kind = await asyncio.to_thread(self._parts.metrics.exposition)
        return Response(content, media_type=None, headers={**HEADERS, "content-type": kind})

    def _model(self, name: str) -> JsonObject:
        return {"id": name, "object": "model", "created": int(self._life.began_at), "owned_by": "council"}

    def _bounded(self, endpoint: Endpoint) -> Endpoint:
        """Refuse what is more than can be done at once, before it is read."""

        async def bounded(request: Request) -> Response:
            if self._life.under_way >= self._settings.service.requests_at_once:
                self._parts.metrics.turned_away()
                raise RefusalError(503, "too_busy", "too many requests are under way; try again", retry_seconds=1)
            self._life.under_way += 1
            try:
                response = await endpoint(request)
            except BaseException:
                self._life.under_way -= 1
                raise
            if isinstance(response, EventStream):
                response.at_end = self._leave
            else:
                self._leave()
            return response

        return bounded

    def _leave(self) -> None:
        self._life.under_way -= 1


async def _on_refusal(request: Request, error: RefusalError) -> Response:
    return refused(error)


async def _on_away(request: Request, error: StoreAwayError) -> Response:
    _log.warning("memory_away", path=request.url.path, error=str(error))
    said = "what is remembered cannot be reached now; this may be done in part; try again"
    return refused(RefusalError(503, "memory_away", said, retry_seconds=1))


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
    StoreAwayError: _on_away,
    HTTPException: _on_http,
    Exception: _on_any,
}
