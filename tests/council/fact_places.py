"""The two places where facts are kept, for tests that hold both to the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from council.configuration import load
from council.memory.fact_redis import RedisFacts
from council.memory.fact_sqlite import SqliteFacts
from council.memory.fact_store import FactStore
from council.memory.facts import Facts
from council.memory.texts import Language
from council.memory.vectors import Vectors
from council.settings import VectorSettings
from tests.real.redis import redis_server

SHIPPED = load(None).memory
LANGUAGE = Language(SHIPPED.language, SHIPPED.empty_words, SHIPPED.kinds)


class Place:
    """One store of record, as several processes may use it."""

    def __init__(self, folder: Path, url: str | None, stack: ExitStack) -> None:
        self.folder = folder
        self.url = url
        self._stack = stack
        self._closed: list[Facts] = []

    @property
    def where(self) -> str:
        """Its file, or its URL."""
        return self.url or str(self.folder / "memory.db")

    def store(self) -> FactStore:
        return SqliteFacts(self.folder / "memory.db") if self.url is None else RedisFacts(self.url)

    def facts(
        self, *, clock: Callable[[], float] = time.time, vectors: Vectors | None = None, **settings: Any
    ) -> Facts:
        """What one process uses; closed at the end of the test where the test does not."""
        given = SHIPPED.model_copy(update={"vectors": None if vectors is None else VectorSettings(), **settings})
        made = Facts(self.store(), given, LANGUAGE, clock=clock, vectors=vectors)
        self._stack.callback(self.close, made)
        return made

    def close(self, facts: Facts) -> None:
        if facts in self._closed:
            return
        self._closed.append(facts)
        facts.close()

    def left(self) -> bytes:
        """All that is kept on the disk, and what Redis has in its memory."""
        content = b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())
        if self.url is None:
            return content
        with redis.Redis.from_url(self.url) as client:
            for key in client.scan_iter("*"):
                content += key + (client.dump(key) or b"")
        return content


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "kept"
    folder.mkdir()
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(folder, durable=True)) if request.param == "redis" else None
        yield Place(folder, url, stack.enter_context(ExitStack()))
