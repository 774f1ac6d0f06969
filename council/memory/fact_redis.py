"""Facts in a Redis that councils on several hosts share.

A fact is a hash; what finds it are sorted sets by when it was told: of its tenant, of its session, and of each stem in
its session. Whatever changes one fact and what finds it is one script, so that nobody, and no crash, sees a half.
"""

from __future__ import annotations

import hashlib
import math
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis
import structlog

from council.memory.fact_scripts import ARCHIVE, DONE, DROP, KEEP, PREFIX, VECTOR
from council.memory.fact_store import ID_DIGITS, REMEMBERED_SECONDS, SHARED, Fact, Kept, StoreAwayError
from council.memory.vectors import NUMBER_DIGITS, Stored, number_of
from uici.model.masking import mask

_log = structlog.get_logger(__name__)
_SECONDS = 2.0
"""How long an answer may take."""
_REST_SECONDS = 1.0
"""How long it is not asked after it did not answer: nobody shall wait for each request anew."""
_BATCH = 500
"""How many facts one transaction changes: Redis does nothing else meanwhile."""
_MOST_OF_STEM = 2000
"""As many facts of each stem in each session are compared, the newest."""
_K1, _B, _LENGTH = 1.2, 0.75, 6.0
"""Of BM25 (Robertson, Zaragoza: The Probabilistic Relevance Framework, 2009), with a usual fact's length in stems."""


class RedisFacts:
    """As `FactStore` says."""

    def __init__(self, url: str) -> None:
        """`url` as redis-py takes it: redis://, rediss:// or unix://. Connects when it is used. Raises ValueError."""
        # Its types allow bytes, and what only other options give.
        self._client: Any = redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
        self._keep, self._vector, self._drop, self._archive, self._done = map(
            self._client.register_script, (KEEP, VECTOR, DROP, ARCHIVE, DONE)
        )
        self._own = 0
        """How many changes of the store are this process's."""
        self._rests_until, self._said = 0.0, ""
        self._durable: bool | None = None

    def write(self, kept: Sequence[Kept], model: str) -> int:
        """As `FactStore` says."""
        count = 0
        with self._used():
            for some in _batches(kept):
                with self._client.pipeline(transaction=True) as pipe:
                    for each in some:
                        fact, vector = each.fact, each.vector
                        place = (fact.tenant, _named(fact.session), fact.session)
                        told = (fact.text, int(fact.marked), repr(fact.told_at), " ".join(dict.fromkeys(each.stems)))
                        self._keep(
                            args=[fact.id, *place, *told, model, b"" if vector is None else vector.vector], client=pipe
                        )
                    taken = sum(pipe.execute())
                    self._own += taken
                    count += taken
        return count

    def known(self, *digests: str) -> bool:
        """As `FactStore` says."""
        with self._used(), self._client.pipeline(transaction=False) as pipe:
            for digest in digests:
                pipe.zscore(_key("ids"), digest[:ID_DIGITS])
            return any(score is not None for score in pipe.execute())

    def found(self, tenant: str, session: str, stems: Iterable[str], limit: int) -> list[Fact]:
        """As `FactStore` says: by BM25 over the session and what its tenant shares."""
        wanted = list(dict.fromkeys(stems))
        if not wanted:
            return []
        places = list(dict.fromkeys((session, SHARED)))
        with self._used():
            with self._client.pipeline(transaction=False) as pipe:
                for place in places:
                    pipe.zcard(_of(tenant, place))
                for stem in wanted:
                    for place in places:
                        pipe.zcard(_stem(tenant, place, stem))
                        pipe.zrevrange(_stem(tenant, place, stem), 0, _MOST_OF_STEM - 1, withscores=True)
                answers = iter(pipe.execute())
            count = sum(next(answers) for _ in places)
            weights: dict[bytes, float] = {}
            told: dict[bytes, float] = {}
            for _ in wanted:
                having, listed = zip(*((next(answers), next(answers)) for _ in places), strict=True)
                weight = math.log(1 + (count - sum(having) + 0.5) / (sum(having) + 0.5))
                for id_, told_at in (pair for some in listed for pair in some):
                    weights[id_] = weights.get(id_, 0.0) + weight
                    told[id_] = told_at
            # The length counts, too; it stands in the fact, so that more than are wanted are looked at.
            best = sorted(weights, key=lambda id_: (-weights[id_], -told[id_]))[: limit * 4]
            facts = self._facts(best)

        def rank(pair: tuple[Fact, int]) -> tuple[float, float]:
            fact, length = pair
            return -weights[fact.id.encode()] / (1 + _K1 * (1 - _B + _B * length / _LENGTH)), -fact.told_at

        return [fact for fact, _ in sorted(facts, key=rank)[:limit] if fact.tenant == tenant]

    def listed(self, tenant: str, session: str | None, limit: int) -> list[Fact]:
        """As `FactStore` says."""
        with self._used():
            key = _of(tenant) if session is None else _of(tenant, session)
            return [fact for fact, _ in self._facts(self._client.zrevrange(key, 0, limit - 1))]

    def count(self, tenant: str) -> int:
        """As `FactStore` says."""
        with self._used(), self._client.pipeline(transaction=False) as pipe:
            pipe.zcard(_of(tenant)).zcard(_of(tenant, archived=True))
            return sum(pipe.execute())

    def numbered(self, tenant: str, numbers: Iterable[int]) -> Mapping[int, Fact]:
        """As `FactStore` says."""
        with self._used():
            facts = self._facts(self._ids(numbers))
            return {number_of(fact.id): fact for fact, _ in facts if fact.tenant == tenant}

    def forget(self, tenant: str, now: float, *, fact: str | None, session: str | None) -> list[str]:
        """As `FactStore` says. What Redis wrote into its own file is written anew, without it."""
        with self._used():
            what = _forgotten(tenant, fact, session)
            self._client.set(what, repr(now), ex=REMEMBERED_SECONDS)
            if fact is not None:
                found = [fact.encode()]
            else:
                keys = [_of(tenant, archived=True), _of(tenant) if session is None else _of(tenant, session)]
                found = [id_ for key in keys for id_ in self._client.zrange(key, 0, -1)]
            only = "" if session is None else _named(session)
            gone = self._in_batches(self._drop, found, tenant, only, int(session is not None))
            if gone:
                # Kept there: when this process ends before Redis has time for it, another one sees to it.
                self._client.set(_key("rewrite"), uuid.uuid4().hex)
                self._rewrite()
            return gone

    def archive(self, before: float, now: float) -> list[str]:
        """As `FactStore` says."""
        gone: list[str] = []
        with self._used():
            for tenant in self._client.smembers(_key("tenants")):
                old = self._client.zrangebyscore(_of(tenant.decode()), "-inf", f"({before!r}")
                gone += self._in_batches(self._archive, old, tenant, repr(now), repr(before))
        return gone

    def version(self) -> object:
        """As `FactStore` says: how many changes others made."""
        with self._used():
            return int(self._client.get(_key("version")) or 0) - self._own

    def vector_numbers(self, model: str) -> set[int]:
        """As `FactStore` says."""
        with self._used():
            return {number_of(id_.decode()) for id_ in self._client.smembers(_vectors(model))}

    def vectors(self, model: str, numbers: Collection[int]) -> Iterable[Stored]:
        """As `FactStore` says."""
        with self._used():
            if len(numbers) <= _BATCH:
                ids = self._ids(numbers)
            else:
                ids = [id_ for id_ in self._client.smembers(_vectors(model)) if number_of(id_.decode()) in numbers]
        for some in _batches(ids):
            with self._used(), self._client.pipeline(transaction=False) as pipe:
                for id_ in some:
                    pipe.hmget(_fact(id_), "tenant", "session", "vector", "model")
                rows = pipe.execute()
            for id_, (tenant, session, vector, of) in zip(some, rows, strict=True):
                if vector is not None and of == model.encode():
                    yield Stored(number_of(id_.decode()), tenant.decode(), session.decode(), vector)

    def keep_vectors(self, made: Sequence[tuple[Fact, Stored]], model: str) -> list[Stored]:
        """As `FactStore` says."""
        with self._used(), self._client.pipeline(transaction=True) as pipe:
            for fact, stored in made:
                self._vector(args=[fact.id, model, stored.vector], client=pipe)
            kept = pipe.execute()
            self._own += sum(kept)
            return [stored for (_, stored), done in zip(made, kept, strict=True) if done]

    def lacking(self, model: str, known: Collection[int], limit: int) -> list[Fact]:
        """As `FactStore` says."""
        with self._used():
            if self._client.zcard(_key("ids")) == self._client.scard(_vectors(model)):
                return []
            ids = self._client.zrange(_key("ids"), 0, -1)
            missing = [id_ for id_ in ids if number_of(id_.decode()) not in known][:limit]
            return [fact for fact, _ in self._facts(missing)]

    def look(self) -> None:
        """As `FactStore` says; and ask again for what Redis had no time for."""
        with self._used():
            self._client.ping()
            self._see_durable()
            self._rewrite()

    def check(self) -> None:
        """As `FactStore` says."""
        with self._used():
            self._client.set(_key("check"), "1")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ids(self, numbers: Iterable[int]) -> list[bytes]:
        """Of the facts in sight that have these numbers."""
        with self._client.pipeline(transaction=False) as pipe:
            for number in numbers:
                low, high = (f"{value:0{NUMBER_DIGITS}x}" for value in (number, number + 1))
                pipe.zrangebylex(_key("ids"), f"[{low}", f"({high}")
            return [id_ for some in pipe.execute() for id_ in some]

    def _facts(self, ids: Sequence[bytes]) -> list[tuple[Fact, int]]:
        """The facts in sight, each with the number of its stems."""
        with self._client.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.hmget(_fact(id_), "tenant", "session", "text", "marked", "told_at", "stems", "archived_at")
            rows = pipe.execute()
        found = []
        for id_, (tenant, session, text, marked, told_at, stems, archived_at) in zip(ids, rows, strict=True):
            if tenant is not None and archived_at is None:
                told = (tenant.decode(), session.decode(), text.decode(), marked == b"1", float(told_at))
                found.append((Fact(id_.decode(), *told), len(stems.split())))
        return found

    def _in_batches(self, script: Callable[..., list[bytes]], ids: Sequence[bytes], *arguments: object) -> list[str]:
        """Which of them the script changed."""
        changed: list[str] = []
        for some in _batches(ids):
            found = [id_.decode() for id_ in script(args=[*arguments, *some])]
            self._own += len(found)
            changed += found
        return changed

    def _rewrite(self) -> None:
        """Have Redis write its files anew: else what was forgotten stands in them until it does so by itself."""
        if (asked := self._client.get(_key("rewrite"))) is None:
            return
        try:
            if self._client.info("persistence").get("aof_enabled"):
                self._client.bgrewriteaof()
            if self._client.config_get("save").get("save"):
                self._client.bgsave(schedule=True)
        except redis.ResponseError as error:
            if "in progress" in str(error):
                return
            _log.warning("forgotten_in_redis_file", error=str(mask(str(error))))
        # Only now: who ends, or waits in vain, before this leaves it to be done again.
        self._done(args=[asked])

    def _see_durable(self) -> None:
        """Say when this Redis may lose what it took: once, and again when it was away."""
        if self._durable is not None:
            return
        try:
            info = self._client.info()
        except redis.ResponseError as error:
            self._durable = False
            _log.warning("redis_does_not_say_whether_it_is_durable", error=str(mask(str(error))))
            return
        policy = info.get("maxmemory_policy", "noeviction")
        evicts = policy != "noeviction" and bool(info.get("maxmemory", 1))
        self._durable = bool(info.get("aof_enabled")) and not evicts
        if not self._durable:
            _log.warning(
                "redis_not_durable",
                append_only_file=bool(info.get("aof_enabled")),
                maxmemory_policy=policy,
                hint="facts are lost when it ends, or when its memory is full; set appendonly yes and noeviction",
            )

    @contextmanager
    def _used(self) -> Iterator[None]:
        if time.monotonic() < self._rests_until:
            raise StoreAwayError(self._said)
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._said = f"Redis: {type(error).__name__}: {mask(str(error))}"
            self._rests_until = time.monotonic() + _REST_SECONDS
            self._durable = None
            raise StoreAwayError(self._said) from None
        except redis.RedisError as error:
            # Of a pipeline the client quotes the command, and with it whose facts they are.
            said = str(error).rpartition(" of pipeline caused error: ")[2]
            raise StoreAwayError(f"Redis: {type(error).__name__}: {mask(said)}") from None


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _key(*names: str) -> str:
    return PREFIX + ":".join(names)


def _named(session: str) -> str:
    """A session in the names of keys, whatever stands in it."""
    return hashlib.sha256(session.encode(errors="replace")).hexdigest()[:32]


def _fact(id_: bytes) -> str:
    return _key("fact", id_.decode())


def _of(tenant: str, session: str | None = None, *, archived: bool = False) -> str:
    """What is in sight of a tenant, or of one session; or what is archived of the tenant."""
    if archived:
        return _key("old", tenant)
    return _key("of", tenant) if session is None else _key("of", tenant, _named(session))


def _stem(tenant: str, session: str, stem: str) -> str:
    return _key("stem", tenant, _named(session), stem)


def _vectors(model: str) -> str:
    return _key("vectors", model)


def _forgotten(tenant: str, fact: str | None, session: str | None) -> str:
    if fact is not None:
        return _key("forgotten", tenant, "fact", fact)
    return _key("forgotten", tenant, "all") if session is None else _key("forgotten", tenant, "in", _named(session))
