"""`/feedback`: people say whether an answer was right, and the stage that gave it is calibrated by that."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from council.api.answering import json_response
from council.api.door import Visitor
from council.asking import Answer, Ask
from council.errors import RefusalError
from council.learning.judging import LearnedJudge
from council.learning.outcomes import Given, Outcomes
from council.routing.cascade import Tried
from uici.model.base import JsonObject

_LONGEST_QUESTION = 4000


class Feedback:
    """What was given, and what people say of it."""

    def __init__(self, outcomes: Outcomes, judge: LearnedJudge, *, keeps_questions: bool) -> None:
        self._outcomes = outcomes
        self._keeps_questions = keeps_questions
        self._judge = judge

    def gave(self, ask: Ask, answer: Answer, tried: list[Tried]) -> None:
        """Note an answer that may be judged: one whose stage said how sure it is."""
        name = answer.document.get("id")
        question = ask.question[:_LONGEST_QUESTION] if self._keeps_questions else ""
        for each in tried:
            if each.accepted and each.raw_confidence is not None and isinstance(name, str):
                self._outcomes.gave(name, Given(ask.tenant, each.stage, each.raw_confidence, question))

    async def told(self, body: JsonObject, visitor: Visitor) -> Response:
        """Keep one judgement. Raises RefusalError with 400 or 404."""
        answer, right = body.get("answer"), body.get("right")
        if not isinstance(answer, str) or not isinstance(right, bool):
            raise RefusalError(400, "invalid_value", "answer is the id of an answer, right is true or false")
        try:
            stage = await asyncio.to_thread(self._outcomes.judge, answer, visitor.tenant, right=right)
        except LookupError:
            raise RefusalError(
                404, "no_such_answer", f"no answer {answer!r:.100} that a stage was sure of was given to you lately"
            ) from None
        if self._judge.told(stage):
            await asyncio.to_thread(self._judge.learn, stage)
        return json_response({"stage": stage, "right": right})
