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
from pathlib import Path

import structlog

from council.memory.texts import Language
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
    ) -> None:
        """`quoted` says whether a text is only what the council itself quotes from elsewhere."""
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

    def tell(self, tenant: str, session: str, text: str) -> Fact:
        """Keep a text. Raises NotKeptError when it is known already, too long, or too much."""
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
            if self._known(digest, shared) or self._like(tenant, session, stems):
                raise NotKeptError("duplicate", "this is known already")
            if self._count(tenant) >= self._settings.most_per_tenant:
                most = self._settings.most_per_tenant
                raise NotKeptError("quota", f"{most} facts are kept for each tenant; forget some")
            marked = any(pattern(each).found_in(text) for each in self._settings.suspicious)
            fact = Fact(digest[:24], tenant, session, text, marked, self._clock())
            self._waiting[digest] = fact
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

    def forget(self, tenant: str, *, fact: str | None = None, session: str | None = None) -> int:
        """Delete one fact, a session's, or all of a tenant, archived ones too, everywhere. How many there were."""
        with self._lock:
            self.flush()
            with immediate(self._db):
                rows = self._db.execute(
                    "DELETE FROM facts WHERE tenant = ? AND (? IS NULL OR id = ?) AND (? IS NULL OR session = ?)"
                    " RETURNING number",
                    (tenant, fact, fact, session, session),
                ).fetchall()
                self._db.executemany("DELETE FROM fact_index WHERE rowid = ?", rows)
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
            return self._db.execute(
                "UPDATE facts SET archived_at = ? WHERE archived_at IS NULL AND told_at < ?", (self._clock(), before)
            ).rowcount

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
            self._waiting.clear()

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
