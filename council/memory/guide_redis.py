"""The index of guides in Redis, for councils on several hosts.

One generation of keys for each content; `current` names the one that counts, and is changed in the transaction that
writes the new one. The former lives on for a while, for whoever is reading it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from council.memory.guide_index import IndexAwayError, IndexLostError, Section

_PREFIX = "council:guides"
_CURRENT = f"{_PREFIX}:current"
_SECONDS = 2.0
_FORMER_SECONDS = 60


class RedisIndex:
    """As `GuideIndex` says. Ranked by how many of the stems a section has."""

    def __init__(self, url: str) -> None:
        """`url` as redis-py takes it: redis://, rediss:// or unix://. Connects when it is used."""
        # Its types allow bytes, and what only other options give.
        self._client: Any = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
        )

    def replace(self, digest: str, sections: Iterable[tuple[Section, Sequence[str]]]) -> bool:
        """As `GuideIndex` says."""
        with _reached():
            former = self._client.get(_CURRENT)
            if former == digest:
                return False
            texts: list[str] = []
            numbers: dict[str, list[int]] = {}
            for number, (section, stems) in enumerate(sections):
                texts.append(section.to_json())
                for stem in dict.fromkeys(stems):
                    numbers.setdefault(stem, []).append(number)
            # What a generation that was replaced left under the same name goes first.
            old = {digest: self._keys(digest), str(former): self._keys(str(former))}
            with self._client.pipeline(transaction=True) as pipe:
                for key in old[digest]:
                    pipe.delete(key)
                for key in old[str(former)]:
                    pipe.expire(key, _FORMER_SECONDS)
                if texts:
                    pipe.rpush(_sections(digest), *texts)
                for stem, having in numbers.items():
                    pipe.sadd(_stem(digest, stem), *having)
                pipe.sadd(_names(digest), _sections(digest), *(_stem(digest, stem) for stem in numbers))
                pipe.set(_CURRENT, digest)
                pipe.execute()
            return True

    def found(self, stems: Sequence[str], limit: int) -> list[Section]:
        """As `GuideIndex` says."""
        with _reached():
            digest = self._client.get(_CURRENT)
            if not isinstance(digest, str) or not self._client.exists(_names(digest)):
                raise IndexLostError
            counted = self._client.zunion([_stem(digest, stem) for stem in stems], aggregate="SUM", withscores=True)
            best = sorted(counted, key=lambda pair: (-float(pair[1]), int(pair[0])))[:limit]
            with self._client.pipeline(transaction=False) as pipe:
                for number, _ in best:
                    pipe.lindex(_sections(digest), int(number))
                texts = pipe.execute()
            return [Section.from_json(text) for text in texts if text is not None]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _keys(self, digest: str) -> list[str]:
        names = _names(digest)
        return [*sorted(self._client.smembers(names)), names]


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise IndexAwayError(f"{type(error).__name__}: {error}") from None


def _names(digest: str) -> str:
    """The set of all keys of a generation."""
    return f"{_PREFIX}:{digest}:keys"


def _sections(digest: str) -> str:
    return f"{_PREFIX}:{digest}:sections"


def _stem(digest: str, stem: str) -> str:
    return f"{_PREFIX}:{digest}:stem:{stem}"
