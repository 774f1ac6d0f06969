"""`/memory`: what is kept of conversations, and what is told, listed and forgotten by itself."""

from __future__ import annotations

import asyncio

import structlog
from starlette.requests import Request
from starlette.responses import Response

from council.api.answering import json_response
from council.api.door import Door
from council.api.reading import read_object
from council.asking import Ask
from council.errors import RefusalError
from council.memory.fact_store import SHARED, Fact, StoreAwayError
from council.memory.facts import NotKeptError
from council.memory.memory import Memory
from council.memory.recalling import is_question
from council.monitors.metrics import Metrics
from council.settings import AgentsFile
from uici.model.base import JsonObject

_log = structlog.get_logger(__name__)
_MOST_LISTED = 1000


class Remembering:
    """The routes of what is remembered."""

    def __init__(self, settings: AgentsFile, door: Door, memory: Memory, metrics: Metrics) -> None:
        self._settings = settings
        self._door = door
        self._memory = memory
        self._metrics = metrics
        self._facts = memory.facts

    async def keep(self, ask: Ask) -> None:
        """Remember what the user told in a session; what was asked or is known already is not."""
        if ask.session is None or is_question(ask.question):
            return
        try:
            await self._memory.tell(ask.tenant, ask.session, ask.question)
        except NotKeptError as error:
            self._metrics.not_kept(error.code)
            _log.info("fact_not_kept", tenant=ask.tenant, because=error.code)
        except StoreAwayError as error:
            self._metrics.not_kept("memory_away")
            _log.warning("fact_not_kept", tenant=ask.tenant, because=str(error))

    async def tell(self, request: Request) -> Response:
        """`POST /memory`: keep `{text, session?}`; without a session all sessions of the tenant see it."""
        visitor = self._door.visitor(request)
        given = await read_object(request, self._settings.service.max_body_bytes)
        text, session = given.get("text"), given.get("session") or SHARED
        if not isinstance(text, str) or not isinstance(session, str):
            raise RefusalError(400, "invalid_value", "text and session are texts", parameter="text")
        try:
            fact = await self._memory.tell(visitor.tenant, session, text)
        except NotKeptError as error:
            self._metrics.not_kept(error.code)
            status = {"duplicate": 409, "quota": 429, "behind": 503}.get(error.code, 400)
            raise RefusalError(status, error.code, str(error), parameter="text") from None
        return json_response(_shown(fact), 201)

    async def listed(self, request: Request) -> Response:
        """`GET /memory?session=…`: what is kept, the newest first."""
        visitor = self._door.visitor(request)
        session = request.query_params.get("session")
        facts = await asyncio.to_thread(self._facts.listed, visitor.tenant, session, _MOST_LISTED)
        return json_response({"facts": [_shown(fact) for fact in facts]})

    async def forget(self, request: Request) -> Response:
        """`DELETE /memory/ID` or `DELETE /memory?session=…`, `?all=true`: forget it everywhere."""
        visitor = self._door.visitor(request)
        fact, session = request.path_params.get("id"), request.query_params.get("session")
        if fact is None and session is None and request.query_params.get("all") != "true":
            raise RefusalError(400, "invalid_value", "say which session, or all=true", parameter="session")
        count = await asyncio.to_thread(self._facts.forget, visitor.tenant, fact=fact, session=session)
        if fact is not None and not count:
            raise RefusalError(404, "no_such_fact", f"there is no fact {fact!r:.100}")
        return json_response({"forgotten": count})


def _shown(fact: Fact) -> JsonObject:
    return {
        "id": fact.id,
        "session": fact.session or None,
        "text": fact.text,
        "marked": fact.marked,
        "told_at": fact.told_at,
    }
