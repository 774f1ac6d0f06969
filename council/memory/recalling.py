"""agent-0: answers from what was told, in the words in which it was told; else it says that it does not know."""

from __future__ import annotations

import asyncio
import time
import uuid

import structlog

from council.asking import Answer, Ask, BackendError, Chunks, Usage, as_chunks
from council.memory.fact_store import SHARED, StoreAwayError
from council.memory.facts import Facts
from council.memory.guides import Guides
from council.memory.memory import Memory
from council.memory.texts import Language, Question, sentences
from uici.model.base import JsonObject

_log = structlog.get_logger(__name__)
UNKNOWN = "I don't know."
NOTED = "Noted."
_CANDIDATES = 20


class RecallBackend:
    """A backend without any model. Costs nothing, and says nothing that nobody told."""

    def __init__(
        self, name: str, facts: Facts, language: Language, guides: Guides | None = None, memory: Memory | None = None
    ) -> None:
        """`memory` is asked for what means the same in other words."""
        self.name = name
        self._guides = guides
        self._memory = memory
        self._facts = facts
        self._language = language

    async def answer(self, ask: Ask, body: JsonObject) -> Answer:
        """A sentence that was told, or that none is known. Raises BackendError where memory cannot be asked."""
        try:
            text, confidence = await asyncio.to_thread(self._recalled, ask)
            if text == UNKNOWN and self._memory is not None:
                near = await self._memory.nearest(ask.tenant, ask.session or SHARED, ask.question)
                text, confidence = near or (text, confidence)
        except StoreAwayError as error:
            # Neither "noted" nor "I don't know" would be true.
            _log.warning("memory_away", backend=self.name, error=str(error))
            said = f"{self.name} cannot reach what is remembered now"
            raise BackendError("memory_away", said, again=False, faulty=False, charged=False) from None
        choice: JsonObject = {"index": 0, "finish_reason": "stop", "logprobs": None}
        if ask.kind == "chat":
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        document = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion" if ask.kind == "chat" else "text_completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [choice],
            "usage": usage,
        }
        return Answer(document, Usage.of(usage), confidence, abstains=text in (UNKNOWN, NOTED))

    async def stream(self, ask: Ask, body: JsonObject) -> Chunks:
        """The same answer as one piece."""
        return as_chunks(ask, await self.answer(ask, body))

    async def embed(self, body: JsonObject) -> Answer:
        """It has none. Raises BackendError."""
        raise BackendError(
            "no_embeddings", f"{self.name} has no embeddings", again=False, faulty=False, charged=False, status=404
        )

    async def close(self) -> None:
        """Nothing to let go of: the facts belong to whoever opened them."""

    def _recalled(self, ask: Ask) -> tuple[str, float]:
        if not is_question(ask.question):
            self._facts.look()
            return NOTED, 0.0
        question = self._language.question(ask.question)
        told = [text for text in ask.earlier for text in sentences(text) if not is_question(text)]
        # What was said last counts most: it may correct what was said before.
        candidates = list(reversed(told))
        stems = [*question.subject, *question.kinds]
        away: StoreAwayError | None = None
        try:
            for fact in self._facts.find(ask.tenant, ask.session or SHARED, stems, _CANDIDATES):
                candidates += sentences(fact.text)
        except StoreAwayError as error:
            away = error  # what stands in the conversation or in a guide is true without it
        best = max(candidates, key=lambda text: self._coverage(question, text), default="")
        confidence = self._coverage(question, best) if best else 0.0
        quoted = self._guides.quoted(question) if self._guides is not None else None
        # What somebody told of this very thing is nearer to them than what was written for all.
        if quoted is not None and quoted.confidence > max(confidence, 0.5):
            return quoted.answer, quoted.confidence
        if confidence > 0.5:
            return best, confidence
        if away is not None:
            raise away
        return UNKNOWN, 0.0

    def _coverage(self, question: Question, text: str) -> float:
        return self._language.coverage(question, frozenset(self._language.stems(text)))


def is_question(text: str) -> bool:
    """Whether the last sentence of `text` asks something."""
    found = sentences(text)
    if not found:
        return False
    first = found[-1].split(maxsplit=1)[0].lower().strip(",'\"")
    return found[-1].endswith("?") or first in _ASKING


_ASKING = frozenset("what who whom whose which when where why how is are was were do does did can could".split())
