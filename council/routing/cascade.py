"""Asking stage after stage until an answer is probably right: cheap ones first.

A stage's answer is accepted when its calibrated probability of being right reaches the gate. An answer that is not
accepted costs what it costs and is kept: when no later stage does better, the best of them is given, marked as not
accepted.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from council.asking import Answer, Ask, BackendError, Chunks, Recalled
from council.budget.purse import UNPRICED, UNREADABLE, BudgetError
from council.errors import RefusalError
from council.routing.limits import limited
from council.routing.pool import Paid, Pool
from council.settings import Route, Stage
from uici.model.base import JsonObject
from uici.model.patterns import pattern

_RETRY_SECONDS = 1.0


class Judge(Protocol):
    """How probably an answer is right."""

    def probability(self, ask: Ask, stage: Stage, raw: float | None) -> float:
        """From 0 to 1, of an answer of `stage` whose backend gave it the confidence `raw`, if it gave any."""

    def expected(self, ask: Ask, stage: Stage) -> float | None:
        """The same before `stage` is asked; None where nobody knows."""


@dataclass(slots=True)
class Tried:
    """One stage that was asked or left out."""

    stage: str
    backend: str | None = None
    accepted: bool = False
    confidence: float | None = None
    raw_confidence: float | None = None
    seconds: float = 0.0
    paid: Paid = field(default_factory=Paid)
    reason: str = ""
    """Why it was discarded or left out."""

    def document(self) -> JsonObject:
        """As clients see it."""
        usage = self.paid.usage
        return {
            "stage": self.stage,
            "backend": self.backend,
            "accepted": self.accepted,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "raw_confidence": None if self.raw_confidence is None else round(self.raw_confidence, 4),
            "latency_ms": round(self.seconds * 1000, 3),
            "cost_usd": f"{self.paid.cost:f}",
            "tokens": None if usage is None else {"input": usage.input_tokens, "output": usage.output_tokens},
            "reason": self.reason or None,
        }


@dataclass(slots=True)
class Outcome:
    """What a cascade gave: a whole answer, or a stream that has begun."""

    tried: list[Tried]
    given: Answer | Chunks
    context: JsonObject | None = None
    """How the conversation was compressed, or what was given with it, for the stage that answered."""

    @property
    def broke(self) -> bool:
        """Whether its stream ended with an error."""
        return any(each.paid.broke for each in self.tried)


@dataclass(slots=True)
class _Candidate:
    tried: Tried
    answer: Answer
    context: JsonObject | None


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a stage is sent."""

    ask: Ask
    body: JsonObject
    context: JsonObject | None = None


Recall = Callable[[Ask, Route, int], Awaitable[Recalled | None]]
"""The ask with what is known of its question, within so many tokens; None where nothing is."""


class Cascade:
    """One route."""

    def __init__(
        self,
        route: Route,
        pools: Mapping[str, Pool],
        judge: Judge,
        *,
        tells_logprobs: Callable[[Stage], bool],
        recall: Recall,
        remembers: Callable[[Stage], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pools` by the names of the stages; `recall` is for stages that do not remember by themselves."""
        self._route = route
        self._pools = pools
        self._judge = judge
        self._tells_logprobs = tells_logprobs
        self._recall = recall
        self._remembers = remembers
        self._clock = clock

    async def ask(self, ask: Ask) -> Outcome:
        """The first answer that is accepted, else the best. Raises RefusalError when there is none."""
        plain = _Sent(ask, limited(ask, self._route))
        informed: _Sent | None = None
        tried: list[Tried] = []
        best: _Candidate | None = None
        failure: BackendError | BudgetError | None = None
        stages = [stage for stage in self._route.stages if self._meant(stage, ask, tried)]
        for number, stage in enumerate(stages):
            if informed is None and not self._remembers(stage):
                informed = await self._informed(plain, stages)
            sent = plain if informed is None or self._remembers(stage) else informed
            record = Tried(stage.name)
            tried.append(record)
            last = number == len(stages) - 1
            began = self._clock()
            try:
                if last and ask.stream and best is None:
                    return await self._streamed(sent, stage, tried)
                answer = await self._answered(sent, stage, record)
            except (BackendError, BudgetError) as error:
                failure = error
                record.reason = str(error)
                record.seconds = self._clock() - began
                continue
            record.seconds = self._clock() - began
            gate = self._route.gate if stage.gate is None else stage.gate
            if record.confidence is not None and record.confidence >= gate and not answer.abstains:
                record.accepted = True
                return Outcome(tried, answer, sent.context)
            record.reason = "it said that it does not know" if answer.abstains else f"below the gate of {gate:g}"
            if best is None or (record.confidence or 0.0) > (best.tried.confidence or 0.0):
                best = _Candidate(record, answer, sent.context)
        if best is not None:
            return Outcome(tried, best.answer, best.context)
        if failure is None:
            said = said_of(tried)
            raise RefusalError(400, "no_stage", f"no stage of this route is meant for this request: {said}")
        raise refusal(failure, tried)

    async def _informed(self, plain: _Sent, stages: Sequence[Stage]) -> _Sent:
        """What is sent, with what is known of it: no more than every stage that may get it is meant for."""
        if plain.ask.whole is not None:  # what is known is in what it was compressed to
            return plain
        bounds = [stage.when.most_input_tokens for stage in stages if not self._remembers(stage)]
        most = min([self._route.most_input_tokens, *(bound for bound in bounds if bound is not None)])
        if self._route.compress is not None:
            most = min(most, self._route.compress.tokens)
        found = await self._recall(plain.ask, self._route, most)
        if found is None:
            return plain
        return _Sent(found.ask, limited(found.ask, self._route), found.document)

    async def _answered(self, sent: _Sent, stage: Stage, record: Tried) -> Answer:
        ask, body = sent.ask, sent.body
        judged = {**body, "stream": False}
        wanted = bool(body.get("logprobs"))
        if ask.kind == "chat" and not wanted and self._tells_logprobs(stage):
            judged["logprobs"] = True
        won, record.paid = await self._pools[stage.name].answer(ask, judged)
        answer = won.given
        record.backend = won.member.backend.name
        record.raw_confidence = answer.raw_confidence
        record.confidence = 0.0 if answer.abstains else self._judge.probability(ask, stage, answer.raw_confidence)
        if not wanted:
            for choice in answer.document.get("choices") or ():
                choice.pop("logprobs", None)
        return answer

    async def _streamed(self, sent: _Sent, stage: Stage, tried: list[Tried]) -> Outcome:
        """The last stage's answer as it comes. It cannot be discarded any more, and so is not judged."""
        began = self._clock()
        won, paid = await self._pools[stage.name].stream(sent.ask, sent.body)
        record = tried[-1]
        record.backend, record.paid, record.seconds = won.member.backend.name, paid, self._clock() - began
        record.accepted = True
        return Outcome(tried, won.given, sent.context)

    def _meant(self, stage: Stage, ask: Ask, tried: list[Tried]) -> bool:
        when = stage.when
        reason = ""
        if when.tools is not None and when.tools != bool(ask.body.get("tools")):
            reason = "is for requests with tools" if when.tools else "is for requests without tools"
        elif when.most_input_tokens is not None and (
            ask.input_tokens(self._route.bytes_per_token) > when.most_input_tokens
        ):
            reason = f"is for at most {when.most_input_tokens} tokens"
        elif when.matches is not None and not pattern(when.matches).found_in(ask.question):
            reason = "is for other questions"
        elif stage.skip_below is not None and stage is not self._route.stages[-1]:
            expected = self._judge.expected(ask, stage)
            if expected is not None and expected < stage.skip_below:
                reason = f"would be right with a probability of {expected:.2f}, below {stage.skip_below:g}"
        if reason:
            tried.append(Tried(stage.name, reason=f"left out: it {reason}"))
        return not reason


def said_of(tried: Sequence[Tried]) -> str:
    """Why there is no answer of any of these."""
    return "; ".join(f"{each.stage}: {each.reason}" for each in tried)


def refusal(failure: BackendError | BudgetError, tried: Sequence[Tried]) -> RefusalError:
    """What a client is told where nothing answered, because of `failure` at last."""
    said = said_of(tried)
    if isinstance(failure, BudgetError):
        return RefusalError({UNPRICED: 400, UNREADABLE: 503}.get(failure.code, 429), failure.code, said)
    if failure.document is not None:
        message, parameter = failure.document.get("message"), failure.document.get("param")
        return RefusalError(
            failure.status or 400,
            str(failure.document.get("code") or failure.code),
            f"{message if isinstance(message, str) else failure} ({said})",
            parameter=parameter if isinstance(parameter, str) else None,
        )
    if failure.status == 429 or failure.code in ("backends_left_alone", "backend_unreachable", "memory_away"):
        status, wait = 503, failure.retry_seconds or _RETRY_SECONDS
        return RefusalError(status, failure.code, said, retry_seconds=wait)
    return RefusalError(504 if failure.code in ("backend_late", "deadline") else 502, failure.code, said)
