"""Facts: texts that somebody told, kept by tenant and session in the store of record.

Writing is behind: a fact is in memory at once, and in the store within `flush_seconds`, or as soon as so many wait.
What a crash takes is at most that. Whoever reads in this process sees all that it was told before; other processes that
share the store see it from then on.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog

from council.memory.fact_store import ID_DIGITS, SHARED, Fact, FactStore, Kept, StoreAwayError
from council.memory.texts import Language
from council.memory.vectors import Stored, Vectors, number_of
from council.settings import MemorySettings
from uici.model.patterns import pattern

_log = structlog.get_logger(__name__)
_ID = re.compile(f"[0-9a-f]{{{ID_DIGITS}}}")
_DAY_SECONDS = 86_400.0
_CANDIDATES = 8
_LOOK_SECONDS = 5.0
"""How often it is seen whether the store is there, when nothing is written."""


class NotKeptError(Exception):
    """A fact that is not kept. The text reaches clients."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Facts:
    """Facts as they are told and recalled, over a store of record. Methods block; safe from several threads.

    Where the store does not do its part they raise StoreAwayError.
    """

    def __init__(
        self,
        store: FactStore,
        settings: MemorySettings,
        language: Language,
        clock: Callable[[], float] = time.time,
        quoted: Callable[[str], bool] = lambda text: False,
        vectors: Vectors | None = None,
    ) -> None:
        """`quoted` says whether a text is only what the council itself quotes from elsewhere. The store is closed with
        this.
        """
        self._store = store
        self._vectors = vectors
        self._version: object = None
        self._quoted = quoted
        self._settings = settings
        self._language = language
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: dict[str, Kept] = {}
        """What is not in the store yet, by digests."""
        self._writing = threading.Condition(self._lock)
        self._closed = False
        self._said = ""
        self._looked_at = time.monotonic()
        self._writer = threading.Thread(target=self._write_behind, name="facts", daemon=True)
        self._writer.start()

    @property
    def usable(self) -> bool:
        """Whether the store did its part when it was asked last; it is asked every few seconds at the least."""
        return not self._said

    @property
    def waiting(self) -> int:
        """How many facts are not in the store yet."""
        return len(self._waiting)

    def tell(self, tenant: str, session: str, text: str, vector: bytes | None = None) -> Fact:
        """Keep a text, and its vector if there is one. Raises NotKeptError when it is known, too long, or too much.

        Nothing is taken while what waits could not be written.
        """
        text = text.strip()
        if not text:
            raise NotKeptError("empty", "there is no text")
        if len(text) > self._settings.longest:
            raise NotKeptError("too_long", f"a fact has at most {self._settings.longest} characters")
        plain = " ".join(text.lower().split())
        digest, shared = _digest(tenant, session, plain), _digest(tenant, SHARED, plain)
        stems = self._language.stems(text)
        if self._quoted(text):
            raise NotKeptError("duplicate", "this stands in a guide")
        with self._lock:
            self._see_written()
            if len(self._waiting) >= self._settings.most_waiting:
                raise NotKeptError("behind", "more is told than can be written; try again")
            if (
                self._known(digest, shared)
                or self._like(tenant, session, stems)
                or self._means(tenant, session, vector)
            ):
                raise NotKeptError("duplicate", "this is known already")
            if self._count(tenant) >= self._settings.most_per_tenant:
                most = self._settings.most_per_tenant
                raise NotKeptError("quota", f"{most} facts are kept for each tenant, archived ones too; forget some")
            marked = any(pattern(each).found_in(text) for each in self._settings.suspicious)
            fact = Fact(digest[:ID_DIGITS], tenant, session, text, marked, self._clock())
            stored = None
            if vector is not None and self._vectors is not None and self._vectors.fits(vector):
                stored = Stored(number_of(fact.id), tenant, session, vector)
                self._vectors.add([stored])
            self._waiting[digest] = Kept(fact, digest, tuple(stems), stored)
            if len(self._waiting) >= self._settings.flush_count:
                self._writing.notify()
            return fact

    def find(self, tenant: str, session: str, stems: Iterable[str], limit: int) -> list[Fact]:
        """Those that share most with `stems`, of the session and of what its tenant shares; the best first."""
        with self._lock:
            self.flush()
            return self._store.found(tenant, session, stems, limit)

    def listed(self, tenant: str, session: str | None, limit: int) -> list[Fact]:
        """What is kept, the newest first; of all sessions where none is given."""
        with self._lock:
            self.flush()
            return self._store.listed(tenant, session, limit)

    def near(self, tenant: str, session: str, vector: bytes, limit: int) -> list[tuple[Fact, float]]:
        """Those whose vectors are nearest, of the session and of what its tenant shares, with their cosines."""
        if self._vectors is None:
            return []
        with self._lock:
            self.flush()
            self._take_up()
            found = self._vectors.nearest(tenant, (session, SHARED), vector, limit)
            facts = self._store.numbered(tenant, [number for number, _ in found])
            return [(facts[number], cosine) for number, cosine in found if number in facts]

    def kinds(self) -> Mapping[str, int]:
        """How many sessions' vectors are compared all, and how many are searched in cells."""
        with self._lock:
            return {} if self._vectors is None else self._vectors.kinds()

    def packed(self, model: str, vectors: Sequence[Sequence[float]]) -> list[bytes]:
        """Vectors of `model` as they are kept. Where they are of another kind than before, those before are left."""
        if self._vectors is None:
            raise LookupError("there are no vectors here")
        with self._lock:
            if self._vectors.begin(model, len(vectors[0])):
                _log.info("vectors_of", model=self._vectors.key)
                self._version = None
                # Those that wait are of the model before.
                self._waiting = {digest: replace(each, vector=None) for digest, each in self._waiting.items()}
                self._take_up()
            return [self._vectors.packed(each) for each in vectors]

    def lacking(self, limit: int) -> list[Fact]:
        """Facts without a vector of the kind that is in force."""
        if self._vectors is None:
            return []
        with self._lock:
            self.flush()
            self._take_up()
            return self._store.lacking(self._vectors.key, self._vectors.numbers, limit)

    def keep(self, made: Sequence[tuple[Fact, bytes]]) -> None:
        """Vectors of facts that are kept already; of those forgotten meanwhile nothing is."""
        if self._vectors is None:
            return
        with self._lock:
            stored = [
                (fact, Stored(number_of(fact.id), fact.tenant, fact.session, vector))
                for fact, vector in made
                if self._vectors.fits(vector)
            ]
            self._vectors.add(self._store.keep_vectors(stored, self._vectors.key))

    def forget(self, tenant: str, *, fact: str | None = None, session: str | None = None) -> int:
        """Delete one fact, a session's, or all of a tenant, archived ones too, everywhere. How many there were."""
        if fact is not None and not _ID.fullmatch(fact):
            return 0
        with self._lock:
            self.flush()
            with self._in_step():
                return self._out_of_sight(self._store.forget(tenant, self._clock(), fact=fact, session=session))

    def archive(self) -> int:
        """Take out of sight what nobody told again for `archive_days`. How many."""
        now = self._clock()
        with self._lock:
            self.flush()
            with self._in_step():
                return self._out_of_sight(self._store.archive(now - self._settings.archive_days * _DAY_SECONDS, now))

    def flush(self) -> None:
        """Write what waits. Where that fails it still waits."""
        with self._lock:
            if not self._waiting:
                return
            model = "" if self._vectors is None else self._vectors.key
            if self._store.write(list(self._waiting.values()), model) < len(self._waiting):
                self._version = None  # the vectors of what was not taken are to go
            self._waiting.clear()

    def look(self) -> None:
        """See whether the store is there, and takes what is told."""
        with self._lock:
            self._see_written()
            self._store.look()

    def check(self) -> None:
        """See whether something could be kept."""
        with self._lock:
            self._store.check()

    def close(self) -> None:
        """Write what waits, and let go of the store; what cannot be written then is lost, and logged."""
        with self._lock:
            self._closed = True
            self._writing.notify()
        self._writer.join()
        with self._lock:
            try:
                self.flush()
            except StoreAwayError as error:
                _log.error("facts_lost", count=len(self._waiting), error=str(error))
            self._store.close()

    def _see_written(self) -> None:
        if self._said:
            raise StoreAwayError(self._said)

    def _known(self, *digests: str) -> bool:
        """Whether the same text is kept already."""
        return not self._waiting.keys().isdisjoint(digests) or self._store.known(*digests)

    def _like(self, tenant: str, session: str, stems: Sequence[str]) -> bool:
        """Whether nearly the same words are kept already."""
        near = [fact.text for fact in self._store.found(tenant, session, stems, _CANDIDATES)]
        known = [frozenset(self._language.stems(text)) for text in near]
        known += [
            frozenset(each.stems)
            for each in self._waiting.values()
            if each.fact.tenant == tenant and each.fact.session in (session, SHARED)
        ]
        return any(_alike(frozenset(stems), each) >= self._settings.alike for each in known)

    def _means(self, tenant: str, session: str, vector: bytes | None) -> bool:
        """Whether something is kept that means nearly the same."""
        if vector is None or self._vectors is None or self._settings.vectors is None:
            return False
        self._take_up()
        near = self._vectors.nearest(tenant, (session, SHARED), vector, 1)
        return bool(near) and near[0][1] >= self._settings.vectors.alike_cosine

    def _count(self, tenant: str) -> int:
        return self._store.count(tenant) + sum(each.fact.tenant == tenant for each in self._waiting.values())

    def _take_up(self) -> None:
        """Read what other processes have written or deleted; without any such change it costs one look."""
        version = self._store.version()
        if self._vectors is None or version == self._version:
            return
        key, known = self._vectors.key, self._vectors.numbers
        stored = self._store.vector_numbers(key)
        waiting = {each.vector.number for each in self._waiting.values() if each.vector is not None}
        self._vectors.remove(known - stored - waiting)
        if fresh := stored - known:
            # All or none: what is known without being in an index would never be found, nor asked for again.
            self._vectors.add(list(self._store.vectors(key, fresh)))
        self._version = version

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        """What fails here may be done in part; then it is looked anew which vectors there are."""
        try:
            yield
        except StoreAwayError:
            self._version = None
            raise

    def _out_of_sight(self, facts: Sequence[str]) -> int:
        if self._vectors is not None:
            self._vectors.remove(map(number_of, facts))
        return len(facts)

    def _write_behind(self) -> None:
        while True:
            with self._lock:
                self._writing.wait(self._settings.flush_seconds)
                if self._closed:
                    return
                self._note(self._written())

    def _written(self) -> str:
        """Write what waits, or see whether the store is there. Why that could not be done; empty when it was."""
        idle = not self._waiting
        if idle and not self._said and time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return ""
        self._looked_at = time.monotonic()
        try:
            if idle:
                self._store.look()
            self.flush()
        except StoreAwayError as error:
            return str(error)
        return ""

    def _note(self, said: str) -> None:
        """Log when the store goes away, and when it is back."""
        if said and not self._said:
            _log.error("facts_not_written", waiting=len(self._waiting), error=said)
        if self._said and not said:
            _log.info("facts_written_again")
        self._said = said


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's index of two sets of stems."""
    return len(one & other) / len(one | other) if one | other else 1.0


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()
