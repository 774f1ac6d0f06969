"""Facts in a SQLite file, which processes on one host may share.

Ranked by BM25, as SQLite computes it: https://www.sqlite.org/fts5.html#the_bm25_function
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from council.memory.fact_store import REMEMBERED_SECONDS, SHARED, Fact, Kept, StoreAwayError
from council.memory.vectors import Stored, number_of
from council.state import check_writable, immediate, opened

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
CREATE TABLE IF NOT EXISTS forgotten (
  tenant TEXT NOT NULL, what TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (tenant, what)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS fact_index USING fts5 (stems);
"""
_FACT = "id, tenant, session, text, marked, told_at"


class SqliteFacts:
    """As `FactStore` says."""

    def __init__(self, file: Path) -> None:
        """Raises OSError and sqlite3.Error."""
        self._db = opened(file, _TABLES)
        self._db.execute("PRAGMA secure_delete=ON")
        self._counts: dict[str, int] = {}
        """Facts of each tenant, until somebody changes something."""
        self._counted_at: object = None

    def write(self, kept: Sequence[Kept], model: str) -> int:
        """As `FactStore` says."""
        with self._used(), immediate(self._db):
            self._counts.clear()
            return sum(not self._forgotten(each.fact) and self._insert(each, model) for each in kept)

    def known(self, *digests: str) -> bool:
        """As `FactStore` says."""
        with self._used():
            marks = ", ".join("?" * len(digests))
            row = self._db.execute(
                f"SELECT 1 FROM facts WHERE digest IN ({marks}) AND archived_at IS NULL",  # noqa: S608 # marks alone
                digests,
            )
            return row.fetchone() is not None

    def found(self, tenant: str, session: str, stems: Iterable[str], limit: int) -> list[Fact]:
        """As `FactStore` says."""
        wanted = " OR ".join(f'"{stem}"' for stem in dict.fromkeys(stems))
        if not wanted:
            return []
        with self._used():
            rows = self._db.execute(
                f"SELECT {_FACT} FROM fact_index JOIN facts ON number = fact_index.rowid"  # noqa: S608 # a constant
                " WHERE fact_index MATCH ? AND tenant = ? AND session IN (?, ?) AND archived_at IS NULL"
                " ORDER BY bm25(fact_index), told_at DESC LIMIT ?",
                (wanted, tenant, session, SHARED, limit),
            ).fetchall()
        return [_fact(row) for row in rows]

    def listed(self, tenant: str, session: str | None, limit: int) -> list[Fact]:
        """As `FactStore` says."""
        with self._used():
            rows = self._db.execute(
                f"SELECT {_FACT} FROM facts"  # noqa: S608 # a constant
                " WHERE tenant = ? AND (? IS NULL OR session = ?) AND archived_at IS NULL"
                " ORDER BY told_at DESC, number DESC LIMIT ?",
                (tenant, session, session, limit),
            ).fetchall()
        return [_fact(row) for row in rows]

    def count(self, tenant: str) -> int:
        """As `FactStore` says."""
        with self._used():
            if (version := self.version()) != self._counted_at:
                self._counts.clear()
                self._counted_at = version
            if tenant not in self._counts:
                (self._counts[tenant],) = self._db.execute(
                    "SELECT count(*) FROM facts WHERE tenant = ?", (tenant,)
                ).fetchone()
            return self._counts[tenant]

    def numbered(self, tenant: str, numbers: Iterable[int]) -> Mapping[int, Fact]:
        """As `FactStore` says."""
        found: dict[int, Fact] = {}
        with self._used():
            for number in numbers:
                low, high = (f"{value:015x}" for value in (number, number + 1))
                row = self._db.execute(
                    # The plus keeps SQLite from going through all facts of the tenant.
                    f"SELECT {_FACT} FROM facts"  # noqa: S608 # a constant
                    " WHERE id >= ? AND id < ? AND +tenant = ? AND archived_at IS NULL",
                    (low, high, tenant),
                ).fetchone()
                if row is not None:
                    found[number] = _fact(row)
        return found

    def forget(self, tenant: str, now: float, *, fact: str | None, session: str | None) -> list[str]:
        """As `FactStore` says. Zeroed on the disk, and not left behind in the log beside the file."""
        what = _what(fact, session)
        with self._used():
            with immediate(self._db):
                self._counts.clear()
                rows = self._db.execute(
                    "DELETE FROM facts WHERE tenant = ? AND (? IS NULL OR id = ?) AND (? IS NULL OR session = ?)"
                    " RETURNING number, id",
                    (tenant, fact, fact, session, session),
                ).fetchall()
                self._db.executemany("DELETE FROM fact_index WHERE rowid = ?", [(number,) for number, _ in rows])
                self._drop_vectors(id_ for _, id_ in rows)
                self._db.execute("DELETE FROM forgotten WHERE at < ?", (now - REMEMBERED_SECONDS,))
                self._db.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?)", (tenant, what, now))
                # Else the index would keep the words until it is merged some day.
                self._db.execute("INSERT INTO fact_index (fact_index) VALUES ('optimize')")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return [id_ for _, id_ in rows]

    def archive(self, before: float, now: float) -> list[str]:
        """As `FactStore` says."""
        with self._used(), immediate(self._db):
            self._counts.clear()
            rows = self._db.execute(
                "UPDATE facts SET archived_at = ? WHERE archived_at IS NULL AND told_at < ? RETURNING id",
                (now, before),
            ).fetchall()
            self._drop_vectors(id_ for (id_,) in rows)
        return [id_ for (id_,) in rows]

    def version(self) -> object:
        """As `FactStore` says: SQLite's own, which what this process commits does not change."""
        with self._used():
            return self._db.execute("PRAGMA data_version").fetchone()

    def vector_numbers(self, model: str) -> set[int]:
        """As `FactStore` says."""
        with self._used():
            return {number for (number,) in self._db.execute("SELECT number FROM vectors WHERE model = ?", (model,))}

    def vectors(self, model: str, numbers: Collection[int]) -> Iterable[Stored]:
        """As `FactStore` says."""
        with self._used():
            rows = self._db.execute("SELECT number, tenant, session, vector FROM vectors WHERE model = ?", (model,))
            for row in rows:
                if row[0] in numbers:
                    yield Stored(*row)

    def keep_vectors(self, made: Sequence[tuple[Fact, Stored]], model: str) -> list[Stored]:
        """As `FactStore` says."""
        with self._used(), immediate(self._db):
            there = [
                stored
                for fact, stored in made
                if self._db.execute("SELECT 1 FROM facts WHERE id = ? AND archived_at IS NULL", (fact.id,)).fetchone()
            ]
            for stored in there:
                self._write_vector(stored, model)
        return there

    def lacking(self, model: str, known: Collection[int], limit: int) -> list[Fact]:
        """As `FactStore` says."""
        with self._used():
            rows = self._db.execute(f"SELECT {_FACT} FROM facts WHERE archived_at IS NULL")  # noqa: S608 # a constant
            return list(islice((_fact(row) for row in rows if number_of(row[0]) not in known), limit))

    def look(self) -> None:
        """A file does not go away by itself."""

    def check(self) -> None:
        """As `FactStore` says."""
        with self._used():
            check_writable(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _insert(self, kept: Kept, model: str) -> bool:
        """Whether it was not there, or not in sight."""
        fact = kept.fact
        row = self._db.execute(
            "INSERT INTO facts (id, tenant, session, text, digest, marked, told_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET told_at = excluded.told_at, archived_at = NULL"
            " WHERE archived_at IS NOT NULL RETURNING number",
            (fact.id, fact.tenant, fact.session, fact.text, kept.digest, fact.marked, fact.told_at),
        ).fetchone()
        if row is None:
            return False
        self._db.execute("INSERT OR REPLACE INTO fact_index (rowid, stems) VALUES (?, ?)", (*row, " ".join(kept.stems)))
        if kept.vector is not None:
            self._write_vector(kept.vector, model)
        return True

    def _forgotten(self, fact: Fact) -> bool:
        """Whether it was told before it was forgotten."""
        what = (_what(None, None), _what(None, fact.session), _what(fact.id, None))
        row = self._db.execute(
            "SELECT 1 FROM forgotten WHERE tenant = ? AND what IN (?, ?, ?) AND at > ?",
            (fact.tenant, *what, fact.told_at),
        )
        return row.fetchone() is not None

    def _write_vector(self, stored: Stored, model: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO vectors (number, tenant, session, model, vector) VALUES (?, ?, ?, ?, ?)",
            (stored.number, stored.tenant, stored.session, model, stored.vector),
        )

    def _drop_vectors(self, facts: Iterable[str]) -> None:
        self._db.executemany("DELETE FROM vectors WHERE number = ?", [(number_of(fact),) for fact in facts])

    @contextmanager
    def _used(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreAwayError(f"{type(error).__name__}: {error}") from None


def _what(fact: str | None, session: str | None) -> str:
    """What was forgotten: one fact, a session, or all."""
    if fact is not None:
        return f"fact {fact}"
    return "all" if session is None else hashlib.sha256(session.encode(errors="replace")).hexdigest()


def _fact(row: Sequence[object]) -> Fact:
    id_, tenant, session, text, marked, told_at = row
    return Fact(str(id_), str(tenant), str(session), str(text), bool(marked), float(str(told_at)))
