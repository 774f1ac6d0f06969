"""Facts: texts that somebody told, kept by tenant and session in the store of record.

Writing is behind: a fact is in memory at once, and on the disk within `flush_seconds`, or as soon as so many wait. What
a crash takes is at most that. Whoever reads sees everything that was told before.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import structlog

from council.memory.texts import Language
from council.memory.vectors import Stored, Vectors, number_of
from council.settings import MemorySettings
from council.state import check_writable, immediate, opened
from uici.model.patterns import pattern

_log = structlog.get_logger(__name__)
_DAY_SECONDS = 86_400.0
_CANDIDATES = 8
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, session TEXT NOT NULL,
  text TEXT NOT NULL, digest TEXT NOT NULL, marked INTEGER NOT NULL, told_at REAL NOT NULL, archived_at REAL
);
CREATE INDEX IF NOT EXISTS facts_of ON facts (tenant, session, told_at);
CREATE INDEX IF NOT EXISTS facts_told ON facts (digest);
CREATE TABLE IF NOT EXISTS vectors (
  number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL, model TEXT NOT NULL, vector BLOB NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS fact_index USING fts5 (stems);
"""
SHARED = ""
"""The session of what all sessions of a tenant may see."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What somebody told."""

    id: str
    tenant: str
    session: str
    text: str
    marked: bool
    """Whether it looks like an order to a model. It stays what it is: data."""
    told_at: float
    """Seconds since 1970."""


class NotKeptError(Exception):
    """A fact that is not kept. The text reaches clients."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Facts:
    """The store of record. Methods block; safe from several threads."""

    def __init__(
        self,
        file: Path,
        settings: MemorySettings,
        language: Language,
        clock: Callable[[], float] = time.time,
        quoted: Callable[[str], bool] = lambda text: False,
        vectors: Vectors | None = None,
    ) -> None:
        """`quoted` says whether a text is only what the council itself quotes from elsewhere."""
        self._vectors = vectors
        self._made: dict[str, Stored] = {}
        """The vectors of facts that wait, by their digests."""
        self._version = -1
        self._quoted = quoted
        self._settings = settings
        self._language = language
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: dict[str, Fact] = {}
        self._writing = threading.Condition(self._lock)
        self._closed = False
        self._counts: dict[str, int] = {}
        """Kept facts of each tenant that told something."""
        self._db = opened(file, _TABLES)
        self._db.execute("PRAGMA secure_delete=ON")
        self._writer = threading.Thread(target=self._write_behind, name="facts", daemon=True)
        self._writer.start()

    @property
    def waiting(self) -> int:
        """How many facts are not on the disk yet."""
        return len(self._waiting)

    def tell(self, tenant: str, session: str, text: str, vector: bytes | None = None) -> Fact:
        """Keep a text, and its vector if there is one. Raises NotKeptError when it is known, too long, or too much."""
        text = text.strip()
        if not text:
            raise NotKeptError("empty", "there is no text")
        if len(text) > self._settings.longest:
            raise NotKeptError("too_long", f"a fact has at most {self._settings.longest} characters")
        plain = " ".join(text.lower().split())
        digest, shared = _digest(tenant, session, plain), _digest(tenant, SHARED, plain)
        stems = frozenset(self._language.stems(text))
        if self._quoted(text):
            raise NotKeptError("duplicate", "this stands in a guide")
        with self._lock:
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
                raise NotKeptError("quota", f"{most} facts are kept for each tenant; forget some")
            marked = any(pattern(each).found_in(text) for each in self._settings.suspicious)
            fact = Fact(digest[:24], tenant, session, text, marked, self._clock())
            self._waiting[digest] = fact
            if vector is not None and self._vectors is not None:
                self._made[digest] = Stored(number_of(fact.id), tenant, session, vector)
                self._vectors.add([self._made[digest]])
            self._counts[tenant] += 1
            if len(self._waiting) >= self._settings.flush_count:
                self._writing.notify()
            return fact

    def find(self, tenant: str, session: str, stems: Iterable[str], limit: int) -> list[Fact]:
        """Those that share most with `stems`, of the session and of what its tenant shares; the best first.

        Ranked by BM25, as SQLite computes it: https://www.sqlite.org/fts5.html#the_bm25_function
        """
        with self._lock:
            self.flush()
            return self._found(tenant, session, stems, limit)

    def _found(self, tenant: str, session: str, stems: Iterable[str], limit: int) -> list[Fact]:
        """As `find`, in what is on the disk."""
        wanted = " OR ".join(f'"{stem}"' for stem in dict.fromkeys(stems))
        if not wanted:
            return []
        rows = self._db.execute(
            "SELECT id, tenant, session, text, marked, told_at FROM fact_index JOIN facts ON number = fact_index.rowid"
            " WHERE fact_index MATCH ? AND tenant = ? AND session IN (?, ?) AND archived_at IS NULL"
            " ORDER BY bm25(fact_index), told_at DESC LIMIT ?",
            (wanted, tenant, session, SHARED, limit),
        ).fetchall()
        return [_fact(row) for row in rows]

    def listed(self, tenant: str, session: str | None, limit: int) -> list[Fact]:
        """What is kept, the newest first; of all sessions where none is given."""
        with self._lock:
            self.flush()
            rows = self._db.execute(
                "SELECT id, tenant, session, text, marked, told_at FROM facts"
                " WHERE tenant = ? AND (? IS NULL OR session = ?) AND archived_at IS NULL"
                " ORDER BY told_at DESC, number DESC LIMIT ?",
                (tenant, session, session, limit),
            ).fetchall()
        return [_fact(row) for row in rows]

    def near(self, tenant: str, session: str, vector: bytes, limit: int) -> list[tuple[Fact, float]]:
        """Those whose vectors are nearest, of the session and of what its tenant shares, with their cosines."""
        if self._vectors is None:
            return []
        with self._lock:
            self.flush()
            self._take_up()
            found = self._vectors.nearest(tenant, (session, SHARED), vector, limit)
            near = []
            for number, cosine in found:
                low, high = (f"{value:015x}" for value in (number, number + 1))
                row = self._db.execute(
                    "SELECT id, tenant, session, text, marked, told_at FROM facts"
                    # The plus keeps SQLite from going through all facts of the tenant.
                    " WHERE id >= ? AND id < ? AND +tenant = ? AND archived_at IS NULL",
                    (low, high, tenant),
                ).fetchone()
                if row is not None:
                    near.append((_fact(row), cosine))
            return near

    def packed(self, model: str, vectors: Sequence[Sequence[float]]) -> list[bytes]:
        """Vectors of `model` as they are kept. Where they are of another kind than before, those before are left."""
        if self._vectors is None:
            raise LookupError("there are no vectors here")
        with self._lock:
            if self._vectors.begin(model, len(vectors[0])):
                _log.info("vectors_of", model=self._vectors.key)
                self._version = -1
                self._take_up()
            return [self._vectors.packed(each) for each in vectors]

    def lacking(self, limit: int) -> list[Fact]:
        """Facts without a vector of the kind that is in force."""
        if self._vectors is None:
            return []
        with self._lock:
            self.flush()
            self._take_up()
            known = self._vectors.numbers
            rows = self._db.execute(
                "SELECT id, tenant, session, text, marked, told_at FROM facts WHERE archived_at IS NULL"
            )
            return list(islice((_fact(row) for row in rows if number_of(row[0]) not in known), limit))

    def keep(self, made: Sequence[tuple[Fact, bytes]]) -> None:
        """Vectors of facts that are kept already; of those forgotten meanwhile nothing is."""
        if self._vectors is None:
            return
        with self._lock, immediate(self._db):
            there = [
                Stored(number_of(fact.id), fact.tenant, fact.session, vector)
                for fact, vector in made
                if self._db.execute("SELECT 1 FROM facts WHERE id = ? AND archived_at IS NULL", (fact.id,)).fetchone()
            ]
            self._write_vectors(there)
            self._vectors.add(there)

    def forget(self, tenant: str, *, fact: str | None = None, session: str | None = None) -> int:
        """Delete one fact, a session's, or all of a tenant, archived ones too, everywhere. How many there were."""
        with self._lock:
            self.flush()
            with immediate(self._db):
                rows = self._db.execute(
                    "DELETE FROM facts WHERE tenant = ? AND (? IS NULL OR id = ?) AND (? IS NULL OR session = ?)"
                    " RETURNING number, id",
                    (tenant, fact, fact, session, session),
                ).fetchall()
                self._db.executemany("DELETE FROM fact_index WHERE rowid = ?", [(number,) for number, _ in rows])
                self._drop_vectors(id_ for _, id_ in rows)
                # Else the index would keep the words until it is merged some day.
                self._db.execute("INSERT INTO fact_index (fact_index) VALUES ('optimize')")
            self._counts.clear()
            # What was deleted is not left behind in the log beside the file.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return len(rows)

    def archive(self) -> int:
        """Take out of sight what nobody told again for `archive_days`. How many."""
        before = self._clock() - self._settings.archive_days * _DAY_SECONDS
        with self._lock:
            self.flush()
            self._counts.clear()
            with immediate(self._db):
                rows = self._db.execute(
                    "UPDATE facts SET archived_at = ? WHERE archived_at IS NULL AND told_at < ? RETURNING id",
                    (self._clock(), before),
                ).fetchall()
                self._drop_vectors(id_ for (id_,) in rows)
            return len(rows)

    def flush(self) -> None:
        """Write what waits. Raises sqlite3.Error; then it still waits."""
        with self._lock:
            if not self._waiting:
                return
            with immediate(self._db):
                for digest, fact in self._waiting.items():
                    number = self._db.execute(
                        "INSERT INTO facts (id, tenant, session, text, digest, marked, told_at)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING number",
                        (fact.id, fact.tenant, fact.session, fact.text, digest, fact.marked, fact.told_at),
                    ).fetchone()
                    if number is not None:
                        stems = " ".join(self._language.stems(fact.text))
                        self._db.execute("INSERT INTO fact_index (rowid, stems) VALUES (?, ?)", (*number, stems))
                self._write_vectors(self._made.values())
            self._waiting.clear()
            self._made.clear()

    def check(self) -> None:
        """Raises sqlite3.Error when nothing could be kept."""
        with self._lock:
            check_writable(self._db)

    def close(self) -> None:
        """Write what waits, and close the file."""
        with self._lock:
            self._closed = True
            self._writing.notify()
        self._writer.join()
        with self._lock:
            self.flush()
            self._db.close()

    def _known(self, *digests: str) -> bool:
        """Whether the same text is kept already."""
        return not self._waiting.keys().isdisjoint(digests) or bool(
            self._db.execute("SELECT 1 FROM facts WHERE digest IN (?, ?)", digests).fetchone()
        )

    def _like(self, tenant: str, session: str, stems: frozenset[str]) -> bool:
        """Whether nearly the same words are kept already."""
        near = self._found(tenant, session, stems, _CANDIDATES)
        near += [fact for fact in self._waiting.values() if fact.tenant == tenant and fact.session in (session, SHARED)]
        return any(_alike(stems, frozenset(self._language.stems(fact.text))) >= self._settings.alike for fact in near)

    def _means(self, tenant: str, session: str, vector: bytes | None) -> bool:
        """Whether something is kept that means nearly the same."""
        if vector is None or self._vectors is None or self._settings.vectors is None:
            return False
        near = self._vectors.nearest(tenant, (session, SHARED), vector, 1)
        return bool(near) and near[0][1] >= self._settings.vectors.alike_cosine

    def _take_up(self) -> None:
        """Read what other processes have written or deleted; without any such change it costs one look."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if self._vectors is None or version == self._version:
            return
        self._version = version
        key, known = self._vectors.key, self._vectors.numbers
        stored = {number for (number,) in self._db.execute("SELECT number FROM vectors WHERE model = ?", (key,))}
        waiting = {each.number for each in self._made.values()}
        self._vectors.remove(known - stored - waiting)
        if fresh := stored - known:
            rows = self._db.execute("SELECT number, tenant, session, vector FROM vectors WHERE model = ?", (key,))
            self._vectors.add(Stored(*row) for row in rows if row[0] in fresh)

    def _write_vectors(self, stored: Iterable[Stored]) -> None:
        if self._vectors is not None:
            self._db.executemany(
                "INSERT OR REPLACE INTO vectors (number, tenant, session, model, vector) VALUES (?, ?, ?, ?, ?)",
                [
                    (each.number, each.tenant, each.session, self._vectors.key, each.vector)
                    for each in stored
                    if self._vectors.fits(each.vector)
                ],
            )

    def _drop_vectors(self, facts: Iterable[str]) -> None:
        numbers = [number_of(fact) for fact in facts]
        self._db.executemany("DELETE FROM vectors WHERE number = ?", [(number,) for number in numbers])
        if self._vectors is not None:
            self._vectors.remove(numbers)

    def _count(self, tenant: str) -> int:
        if tenant not in self._counts:
            (kept,) = self._db.execute(
                "SELECT count(*) FROM facts WHERE tenant = ? AND archived_at IS NULL", (tenant,)
            ).fetchone()
            self._counts[tenant] = int(kept) + sum(fact.tenant == tenant for fact in self._waiting.values())
        return self._counts[tenant]

    def _write_behind(self) -> None:
        while True:
            with self._lock:
                self._writing.wait(self._settings.flush_seconds)
                if self._closed:
                    return
                try:
                    self.flush()
                except sqlite3.Error as error:
                    _log.error("facts_not_written", waiting=len(self._waiting), error=str(error))


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's index of two sets of stems."""
    return len(one & other) / len(one | other) if one | other else 1.0


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()


def _fact(row: Sequence[object]) -> Fact:
    id_, tenant, session, text, marked, told_at = row
    return Fact(str(id_), str(tenant), str(session), str(text), bool(marked), float(str(told_at)))
