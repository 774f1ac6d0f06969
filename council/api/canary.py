"""`/canary`: its weight and its verdict, and replaying a hold-out on both sides."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from council.api.answering import json_response, while_there
from council.api.door import Door, Visitor
from council.api.reading import read_object
from council.asking import Ask, BackendError
from council.budget.purse import BudgetError
from council.canary.canary import Canary
from council.canary.judging import Verdict
from council.errors import RefusalError
from council.routing.limits import limited
from council.routing.pool import Pool
from council.settings import AgentsFile
from uici.model.base import JsonObject

_MOST_QUESTIONS = 100
_LONGEST_REASON = 1000


class CanaryRoutes:
    """The routes of a council that has a canary."""

    def __init__(self, settings: AgentsFile, door: Door, canary: Canary, main: Pool, other: Pool) -> None:
        """`main` and `other` ask one side alone."""
        self._settings = settings
        self._door = door
        self._canary = canary
        self._main, self._other = main, other

    async def shown(self, request: Request) -> Response:
        """`GET /canary`: weight, measured share, verdict and what each gate says."""
        self._door.visitor(request)
        return json_response(await self._canary.document())

    async def put(self, request: Request) -> Response:
        """`PUT /canary`: `{weight, because}`. The same weight again changes nothing."""
        visitor, body = await self._given(request)
        weight = body.get("weight")
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight <= 1:
            raise RefusalError(400, "invalid_value", "weight is a share from 0 to 1", parameter="weight")
        return await self._set(float(weight), visitor, body)

    async def promote(self, request: Request) -> Response:
        """`POST /canary/promote`: `{because}`; to the next step, where every gate passes."""
        visitor, body = await self._given(request)
        now = (await self._canary.look()).weight
        higher = [step for step in self._canary.settings.steps if step > now]
        if not higher:
            raise RefusalError(409, "nothing_higher", f"the canary has {now:.0%} already; there is no higher step")
        if now:
            verdict, gates = self._canary.judged()
            if verdict is not Verdict.PASS:
                said = "; ".join(f"{gate.name}: {gate.reason}" for gate in gates if gate.verdict is not Verdict.PASS)
                raise RefusalError(409, "not_passed", f"the canary is {verdict.value}: {said}")
        return await self._set(higher[0], visitor, body)

    async def replay(self, request: Request) -> Response:
        """`POST /canary/replay`: `{questions: [{question, answer}]}` of a hold-out, asked of both sides."""
        visitor, body = await self._given(request)
        questions = body.get("questions")
        if not isinstance(questions, list) or not 0 < len(questions) <= _MOST_QUESTIONS:
            raise RefusalError(
                400, "invalid_value", f"questions is a list of 1 to {_MOST_QUESTIONS}", parameter="questions"
            )
        for number, each in enumerate(questions):
            texts = [each.get("question"), each.get("answer")] if isinstance(each, dict) else [None]
            if not all(isinstance(text, str) for text in texts):
                where = f"questions[{number}]"
                raise RefusalError(400, "invalid_value", f"{where} has the texts question and answer", parameter=where)
        return json_response(await while_there(request, self._replayed(questions, visitor)))

    async def _replayed(self, questions: list[dict[str, str]], visitor: Visitor) -> JsonObject:
        told = {"replayed": 0, "failed": 0}
        for each in questions:
            try:
                right = [await self._is_right(pool, each, visitor) for pool in (self._main, self._other)]
            except (BackendError, BudgetError):
                # A pair that is not whole says nothing of either side.
                told["failed"] += 1
                continue
            self._canary.replayed(main_right=right[0], canary_right=right[1])
            told["replayed"] += 1
        return told

    async def _is_right(self, pool: Pool, each: dict[str, str], visitor: Visitor) -> bool:
        name = self._settings.default_route
        route = self._settings.routes[name]
        body: dict[str, Any] = {"messages": [{"role": "user", "content": each["question"]}], "temperature": 0}
        ask = Ask("chat", body, name, visitor.tenant, None, time.monotonic() + route.deadline_seconds)
        won, _ = await pool.answer(ask, limited(ask, route))
        said = won.given.document["choices"][0]["message"].get("content") or ""
        return _plain(said) == _plain(each["answer"])

    async def _given(self, request: Request) -> tuple[Visitor, JsonObject]:
        visitor = self._door.administrator(request)
        return visitor, await read_object(request, self._settings.service.max_body_bytes)

    async def _set(self, weight: float, visitor: Visitor, body: JsonObject) -> Response:
        because = body.get("because")
        if not isinstance(because, str) or not 0 < len(because) <= _LONGEST_REASON:
            raise RefusalError(400, "invalid_value", "because says why, in a sentence", parameter="because")
        setting, fresh = await self._canary.put(weight, visitor.name, because)
        return json_response({"weight": setting.weight, "setting": setting.number, "changed": fresh})


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .")
