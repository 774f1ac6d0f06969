"""The configuration in force, and taking another one while requests are under way.

Each request is served to its end by the configuration that it began with. A file that is broken, or that wants what
only a start can give, changes nothing; what is wrong with it is logged, counted and shown by `/status/production`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Set
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from council.asking import Backend
from council.building import Generation, Lasting, built
from council.settings import AgentsFile
from uici.catalogue.diagnostics import CatalogueError
from uici.model.errors import Problem
from uici.model.masking import mask

AT_START = ("state", "memory", "guides", "learning")
"""Members that are taken up at a start only."""
AT_START_OF_SERVICE = ("listen", "connections", "shutdown_seconds")
"""The same, of `service`."""
_MOST_SHOWN = 20
_log = structlog.get_logger(__name__)
_Stamp = tuple[int, int, int, int] | None


class Source:
    """Where the configuration comes from."""

    def __init__(self, file: Path, load: Callable[[], AgentsFile]) -> None:
        """`load` raises CatalogueError."""
        self._file = file
        self.load = load

    def stamp(self) -> _Stamp:
        """What changes when the file does; None where there is none."""
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


class Council:
    """The application: hands each request to the configuration in force."""

    def __init__(self, settings: AgentsFile, folder: Path | None, source: Source | None = None) -> None:
        """Raises Problem for a secret that cannot be had, OSError and sqlite3.Error for a state that cannot be used."""
        self._lasting = Lasting(settings, folder)
        self._source = source
        # Before anything is built from it: what changes meanwhile is seen at the first look.
        self._seen = None if source is None else source.stamp()
        self._now = built(settings, self._lasting)
        self._generations = {self._now}
        self._lasting.metrics.show(*self._now.collectors)
        self._embed_by(self._now)
        self._outer = Starlette(lifespan=self._lifespan)
        self._note(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._outer(scope, receive, send)
            return
        generation = self._now
        generation.under_way += 1
        try:
            await generation.app(scope, receive, send)
        finally:
            generation.under_way -= 1
            if generation is not self._now and not generation.under_way:
                await self._let_go(generation)

    async def look(self) -> bool:
        """Take up the file when it has changed. Whether another configuration is in force now."""
        if self._source is None or (stamp := self._source.stamp()) == self._seen:
            return False
        self._seen = stamp
        try:
            settings = await asyncio.to_thread(self._source.load)
            if settings == self._now.settings:
                self._note(self._lasting.life.configuration["taken_at"])
                return False
            if wants := _wants_start(self._now.settings, settings):
                self._refuse([f"{name} is taken up at a start only: start the council anew" for name in wants])
                return False
            taken = await asyncio.to_thread(built, settings, self._lasting, self._now)
        except CatalogueError as error:
            self._refuse([str(diagnostic) for diagnostic in error.diagnostics])
            return False
        except (Problem, OSError, sqlite3.Error) as error:
            self._refuse([str(error)])
            return False
        await self._take(taken)
        return True

    async def _take(self, taken: Generation) -> None:
        before, self._now = self._now, taken
        self._generations.add(taken)
        self._lasting.purse.use(taken.settings.budget)
        self._lasting.metrics.show(*taken.collectors)
        self._embed_by(taken)
        if taken.watched is not before.watched:
            if before.watched is not None and before.watched.telling is not None:
                await before.watched.telling.close()
            self._start_telling()
        self._note(time.time())
        self._lasting.metrics.reloaded(taken=True)
        _log.info("configuration_taken", routes=len(taken.settings.routes), backends=len(taken.settings.backends))
        if not before.under_way:
            await self._let_go(before)

    async def _let_go(self, generation: Generation) -> None:
        """Close what nobody needs any more."""
        if generation not in self._generations:
            return
        self._generations.discard(generation)
        self._lasting.metrics.keep_routes({name for each in self._generations for name in each.settings.counted})
        needed = self._backends(self._generations)
        for backend in self._backends({generation}) - needed:
            await backend.close()

    @staticmethod
    def _backends(generations: Set[Generation]) -> set[Backend]:
        return {each.backend for generation in generations for each in generation.connected.values()}

    def _note(self, taken_at: float) -> None:
        self._lasting.life.configuration = {"taken_at": taken_at, "good": True, "problems": []}
        self._lasting.metrics.configuration_good(good=True)

    def _refuse(self, problems: list[str]) -> None:
        problems = [str(mask(problem)) for problem in problems]
        shown = problems[:_MOST_SHOWN]
        life = self._lasting.life
        life.configuration = {**life.configuration, "good": False, "refused_at": time.time(), "problems": shown}
        self._lasting.metrics.configuration_good(good=False)
        self._lasting.metrics.reloaded(taken=False)
        _log.error("configuration_refused", problems=shown)

    def _embed_by(self, generation: Generation) -> None:
        name = generation.settings.embeddings
        model = "" if name is None else f"{name}/{generation.settings.backends[name].embedding_model}"
        self._lasting.memory.use(generation.embedder, model)

    def _start_telling(self) -> None:
        watched = self._now.watched
        if watched is not None and watched.telling is not None:
            watched.telling.start()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._now.settings.reload_seconds)
            try:
                await self.look()
            except Exception:
                # Whatever it is, the next change is looked at all the same.
                _log.exception("configuration_not_looked_at")

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._start_telling()
        self._lasting.memory.start()
        watching = asyncio.get_running_loop().create_task(self._watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        watched = self._now.watched
        if watched is not None and watched.telling is not None:
            await watched.telling.close()
        await self._lasting.memory.close()
        for backend in self._backends(self._generations):
            await backend.close()
        await self._lasting.close()


def _wants_start(before: AgentsFile, after: AgentsFile) -> list[str]:
    """What differs and is taken up at a start only."""
    found = [name for name in AT_START if getattr(before, name) != getattr(after, name)]
    one, other = before.service, after.service
    found += [f"service.{name}" for name in AT_START_OF_SERVICE if getattr(one, name) != getattr(other, name)]
    return found
