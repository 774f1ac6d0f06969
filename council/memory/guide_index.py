"""Where sections of guides are found by their stems: SQLite here; what several hosts share in `guide_redis`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from council.state import immediate, opened

_TABLES = """
CREATE TABLE IF NOT EXISTS guide_source (one INTEGER PRIMARY KEY CHECK (one = 1), digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS guide_sections (number INTEGER PRIMARY KEY, section TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS guide_index USING fts5 (stems);
"""


class Sentence(NamedTuple):
    """A sentence, and the command that it announces, whose words say nothing of what it is about."""

    words: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.words} {self.command}" if self.command else self.words


@dataclass(frozen=True, slots=True)
class Section:
    """What stands below one heading of a guide."""

    guide: str
    title: str
    heading: str
    sentences: tuple[Sentence, ...]

    def to_json(self) -> str:
        """As text, of which `from_json` makes the same again."""
        return json.dumps([self.guide, self.title, self.heading, self.sentences])

    @classmethod
    def from_json(cls, text: str) -> Section:
        """What `to_json` made."""
        guide, title, heading, sentences = json.loads(text)
        return cls(guide, title, heading, tuple(Sentence(*each) for each in sentences))


class IndexLostError(Exception):
    """There is no index, although one was made."""


class IndexAwayError(Exception):
    """The index cannot be reached. The text says why."""


class GuideIndex(Protocol):
    """An index of all sections. Methods block, and are called by one thread at a time."""

    def replace(self, digest: str, sections: Iterable[tuple[Section, Sequence[str]]]) -> bool:
        """Hold these, each with its stems, instead of all others. False when those of `digest` are held already.

        Raises IndexAwayError; then the former ones are held.
        """

    def found(self, stems: Sequence[str], limit: int) -> list[Section]:
        """Those that have most to do with any of these stems, the best first. Raises IndexAwayError, IndexLostError."""

    def close(self) -> None:
        """Let go of it."""


@contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise IndexAwayError(f"{type(error).__name__}: {error}") from None


class SqliteIndex:
    """In a file, which processes on one host may share. Ranked by BM25, as SQLite computes it."""

    def __init__(self, file: Path) -> None:
        self._db = opened(file, _TABLES)

    def replace(self, digest: str, sections: Iterable[tuple[Section, Sequence[str]]]) -> bool:
        """As `GuideIndex` says."""
        with _usable(), immediate(self._db):
            if self._db.execute("SELECT 1 FROM guide_source WHERE digest = ?", (digest,)).fetchone():
                return False
            self._db.execute("DELETE FROM guide_sections")
            self._db.execute("DELETE FROM guide_index")
            for number, (section, stems) in enumerate(sections):
                self._db.execute("INSERT INTO guide_sections VALUES (?, ?)", (number, section.to_json()))
                self._db.execute("INSERT INTO guide_index (rowid, stems) VALUES (?, ?)", (number, " ".join(stems)))
            self._db.execute("INSERT OR REPLACE INTO guide_source VALUES (1, ?)", (digest,))
        return True

    def found(self, stems: Sequence[str], limit: int) -> list[Section]:
        """As `GuideIndex` says."""
        with _usable():
            rows = self._db.execute(
                "SELECT section FROM guide_index JOIN guide_sections ON number = guide_index.rowid"
                " WHERE guide_index MATCH ? ORDER BY bm25(guide_index), number LIMIT ?",
                (" OR ".join(f'"{stem}"' for stem in stems), limit),
            ).fetchall()
        return [Section.from_json(text) for (text,) in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()
