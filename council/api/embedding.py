"""`/v1/embeddings`: by one backend, paid from the budgets like every other request."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from council.api.answering import json_response, while_there
from council.api.door import Door
from council.api.reading import read_object
from council.asking import Answer, Ask, BackendError
from council.budget.purse import BudgetError
from council.errors import RefusalError
from council.monitors.metrics import Metrics
from council.monitors.windows import Windows
from council.routing.cascade import Outcome, Tried, refusal
from council.routing.pool import Pool
from council.settings import EMBEDDINGS, AgentsFile


class Embedding:
    """The route of embeddings. Only what is asked over HTTP is counted: memory's own embeddings cost nothing."""

    def __init__(self, settings: AgentsFile, door: Door, pool: Pool | None, metrics: Metrics, windows: Windows) -> None:
        """`pool` has the backend that gives them, if one does; `windows` are those of the routes."""
        self._settings = settings
        self._door = door
        self._pool = pool
        self._metrics = metrics
        self._windows = windows

    async def embeddings(self, request: Request) -> Response:
        """`POST /v1/embeddings`."""
        visitor = self._door.visitor(request)
        body = await read_object(request, self._settings.service.max_body_bytes)
        if not _is_input(body.get("input")):
            raise RefusalError(
                400,
                "invalid_value",
                "input is a text, a list of texts, or the same as lists of tokens",
                parameter="input",
            )
        if self._pool is None:
            raise RefusalError(404, "no_embeddings", "no backend gives embeddings; agents.yml: embeddings names one")
        due = time.monotonic() + self._settings.routes[self._settings.default_route].deadline_seconds
        ask = Ask("embeddings", body, EMBEDDINGS, visitor.tenant, None, due)
        try:
            answer = await while_there(request, self._answered(self._pool, ask))
        except RefusalError as error:
            self._metrics.refused(EMBEDDINGS, error.code)
            if error.status >= 500:
                self._windows.of(EMBEDDINGS).failed()
            raise
        return json_response(answer.document)

    async def _answered(self, pool: Pool, ask: Ask) -> Answer:
        began = time.monotonic()
        record = Tried(EMBEDDINGS)
        try:
            won, record.paid = await pool.answer(ask, ask.body)
        except (BackendError, BudgetError) as error:
            record.reason = str(error)
            if error.code == "no_embeddings":
                raise RefusalError(404, error.code, record.reason) from None
            raise refusal(error, [record]) from None
        record.backend, record.accepted, record.seconds = won.member.backend.name, True, time.monotonic() - began
        self._metrics.answered(EMBEDDINGS, record.seconds)
        self._metrics.told(EMBEDDINGS, Outcome([record], won.given))
        self._windows.of(EMBEDDINGS).answered(record.seconds, record.paid.cost)
        return won.given


def _is_input(value: Any) -> bool:
    """Whether it is what OpenAI's API takes, of which the most that it can cost is known."""
    if isinstance(value, str):
        return bool(value)
    if not isinstance(value, list) or not value:
        return False
    if _are_tokens(value):
        return True
    return all(isinstance(each, str) for each in value) or all(
        isinstance(each, list) and each and _are_tokens(each) for each in value
    )


def _are_tokens(value: list[Any]) -> bool:
    return all(isinstance(each, int) and not isinstance(each, bool) for each in value)
