"""Memory as the event loop uses it: by words, and by vectors where a backend gives embeddings.

Whatever is wrong with the embeddings, what is told is kept and what was told is found by its words; vectors that are
missing then are made later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from council.asking import Backend, BackendError
from council.memory.fact_store import Fact, StoreAwayError
from council.memory.facts import Facts
from council.settings import MemorySettings

_BATCH = 64
_log = structlog.get_logger(__name__)


class Memory:
    """What is told and recalled. `start` begins the work that goes on beside requests."""

    def __init__(self, facts: Facts, settings: MemorySettings) -> None:
        self.facts = facts
        self._settings = settings
        self._embedder: Backend | None = None
        self._model = ""
        self._tasks: list[asyncio.Task[None]] = []

    def use(self, embedder: Backend | None, model: str) -> None:
        """Whose embeddings to take from now on; `model` tells them from those of others."""
        self._embedder, self._model = embedder, model

    def start(self) -> None:
        """Begin to archive what is old, and to make vectors that are missing."""
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._archive()))
        if self._settings.vectors is not None:
            self._tasks.append(loop.create_task(self._catch_up(self._settings.vectors.retry_seconds)))

    async def close(self) -> None:
        """End that work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tell(self, tenant: str, session: str, text: str) -> Fact:
        """Keep a text. Raises NotKeptError."""
        vectors = await self._embedded([text])
        vector = vectors[0] if vectors else None
        return await asyncio.to_thread(self.facts.tell, tenant, session, text, vector)

    async def near(self, tenant: str, session: str, text: str, limit: int) -> list[tuple[Fact, float]]:
        """What means nearly the same as `text`, with its cosine; nothing where there are no vectors now."""
        vectors = await self._embedded([text])
        if not vectors:
            return []
        return await asyncio.to_thread(self.facts.near, tenant, session, vectors[0], limit)

    async def nearest(self, tenant: str, session: str, question: str) -> tuple[str, float] | None:
        """The fact that means most what is asked, and its cosine; None where none is near enough."""
        if self._settings.vectors is None:
            return None
        found = await self.near(tenant, session, question, 1)
        if not found or found[0][1] < self._settings.vectors.least_cosine:
            return None
        return found[0][0].text, min(1.0, found[0][1])

    async def meaning(self, tenant: str, session: str, question: str, limit: int) -> list[Fact]:
        """The facts that mean what is asked, the nearest first; none where there are no vectors now."""
        if self._settings.vectors is None:
            return []
        least = self._settings.vectors.least_cosine
        return [fact for fact, cosine in await self.near(tenant, session, question, limit) if cosine >= least]

    async def _embedded(self, texts: Sequence[str]) -> list[bytes] | None:
        """The vectors of these texts; None where there are none to be had now. Raises StoreAwayError."""
        settings, embedder, model = self._settings.vectors, self._embedder, self._model
        if settings is None or embedder is None:
            return None
        try:
            async with asyncio.timeout(settings.wait_seconds):
                answer = await embedder.embed({"input": list(texts)})
            rows = sorted(answer.document["data"], key=lambda each: each["index"])
            given = [[float(value) for value in each["embedding"]] for each in rows]
            if len(given) != len(texts) or not given[0] or len({len(each) for each in given}) != 1:
                raise ValueError("other vectors than were asked for")
        except (BackendError, TimeoutError, KeyError, TypeError, ValueError) as error:
            _log.warning("not_embedded", error=str(error) or type(error).__name__)
            return None
        return await asyncio.to_thread(self.facts.packed, model, given)

    async def _archive(self) -> None:
        while True:
            try:
                count = await asyncio.to_thread(self.facts.archive)
                if count:
                    _log.info("facts_archived", count=count)
            except StoreAwayError as error:
                _log.error("facts_not_archived", error=str(error))
            await asyncio.sleep(self._settings.archive_every_seconds)

    async def _catch_up(self, retry_seconds: float) -> None:
        """Make the vectors that are missing: of facts told while there were none, and all when the model changes."""
        while True:
            # Also without anything to do: a model that gives longer vectors than before is found out by asking it.
            try:
                done = await self._embedded(["?"]) is not None and await self._one_batch()
            except StoreAwayError as error:
                _log.error("vectors_not_kept", error=str(error))
                done = False
            if not done:
                await asyncio.sleep(retry_seconds)

    async def _one_batch(self) -> bool:
        """Whether there was something to do, and it was done. Raises StoreAwayError."""
        lacking = await asyncio.to_thread(self.facts.lacking, _BATCH)
        vectors = await self._embedded([fact.text for fact in lacking]) if lacking else None
        if vectors is None:
            return False
        await asyncio.to_thread(self.facts.keep, list(zip(lacking, vectors, strict=True)))
        return True
