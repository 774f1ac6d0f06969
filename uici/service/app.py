"""Putting the service together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property, reduce
from importlib.metadata import version
from typing import TYPE_CHECKING

from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uici.model.credentials import AccessSettings
from uici.model.errors import Problem, ProblemKind
from uici.model.settings import IntakeSettings, ServiceSettings
from uici.service import (
    acting,
    audit,
    autonomy,
    configuration,
    guides,
    health,
    learning,
    openapi,
    problems,
    reading,
    telling,
    tokens,
    webhook,
)
from uici.service.admission import Admission
from uici.service.arrivals import Arrivals
from uici.service.context import Context
from uici.service.gate import Gate
from uici.service.lateness import Lateness
from uici.service.problems import problem_response
from uici.service.stream import Follower

if TYPE_CHECKING:
    from uici.runs.control import Control

_WEBHOOK_THREADS = 8
_HEADERS = tuple((name.encode(), value.encode()) for name, value in problems.HEADERS.items())
_OVER_TLS = ((b"strict-transport-security", b"max-age=31536000"),)


class _SecurityHeaders:
    """Adds to every response what keeps browsers from guessing, storing or framing it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS if name not in there]
                message["headers"] = [*message["headers"], *more, *(_OVER_TLS if scope["scheme"] == "https" else ())]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class _OnlyText:
    """Refuses addresses with the character NUL, which no name has and PostgreSQL cannot even be asked about."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if "\0" in scope["path"]:
                problem = Problem(ProblemKind.NOT_FOUND, "no_such_path", "the path holds NUL", where="path")
                await problem_response(Request(scope), problem)(scope, receive, send)
                return
            if b"%00" in scope["query_string"]:
                problem = Problem(ProblemKind.UNPROCESSABLE, "invalid_parameter", "the query holds NUL", where="query")
                await problem_response(Request(scope), problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


_LAYERS: tuple[Callable[[ASGIApp], ASGIApp], ...] = (_OnlyText, _SecurityHeaders)
"""Around whatever answers, the outermost last."""


class _Service(FastAPI):
    """The framework's application, with a door of its own for alerts."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if webhook.is_report(scope):
            await self._door(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    @cached_property
    def _door(self) -> ASGIApp:
        return reduce(lambda inner, layer: layer(inner), _LAYERS, webhook.door(self))


def create_app(
    control: Control,
    settings: ServiceSettings,
    intake: IntakeSettings,
    access: AccessSettings | None = None,
) -> FastAPI:
    """The application over `control`. Starting and stopping `control` is the caller's business. Raises Problem for a
    secret that is missing.

    Open event streams end when the application shuts down; a server that waits for open connections first
    calls `close_streams` when it is asked to stop.
    """
    follower = Follower(control, settings.connections.streams)
    lateness = Lateness()
    # Half of what makes it refuse: what heals can wait, what is not yet on disk may be lost.
    control.give_way(lambda: lateness.of_an_answer() > intake.wait_seconds / 2)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        lateness.start()
        yield
        lateness.stop()
        follower.close()

    app = _Service(
        title="UICI",
        version=version("uici"),
        description="Heals services: alerts in, guarded, durable and verified remedies out.",
        # The interactive pages load their code from another host.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    threads = CapacityLimiter(_WEBHOOK_THREADS)
    app.state.context = Context(
        control=control,
        service=settings,
        intake=intake,
        follower=follower,
        arrivals=Arrivals(),
        admission=Admission(settings, intake, control.free_bytes, lateness.of_an_answer),
        gate=Gate(control, access or AccessSettings(), intake, threads),
        webhook_threads=threads,
    )
    for layer in _LAYERS:
        app.add_middleware(layer)
    problems.install(app)
    for module in (webhook, reading, acting, autonomy, audit, learning, telling, configuration, guides, tokens, health):
        app.include_router(module.router)
    openapi.describe(app)
    return app


def close_streams(app: FastAPI) -> None:
    """End the open event streams, so that a graceful shutdown need not wait for their readers. In the event loop."""
    context: Context = app.state.context
    context.follower.close()
