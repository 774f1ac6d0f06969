"""Guides as people find and see them: listed, searched by words, one whole."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping

from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.guide import Guide

_WORD = re.compile(r"[^\W_]+")
_MOST_WORDS = 20


class GuideIndex:
    """The guides of one configuration, by the words in them. In memory: they are read anew with each change anyway."""

    def __init__(self, guides: Mapping[str, Guide]) -> None:
        self._guides = guides
        # Threads take turns inside of SQLite ("serialized"), and nothing is written after this.
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute("CREATE VIRTUAL TABLE guides USING fts5 (name, title, about, text, tokenize = 'porter')")
        self._db.executemany(
            "INSERT INTO guides VALUES (?, ?, ?, ?)",
            ((each.name, each.title, " ".join(_about(each)), each.text) for each in guides.values()),
        )
        self._db.commit()

    def found(self, query: str) -> list[Guide]:
        """The guides with all words of `query`, or words that begin like them; those that are most about them first.

        A word in the name, the title or the head counts more than one in the text.
        """
        words = _WORD.findall(query)[:_MOST_WORDS]
        if not words:
            return []
        rows = self._db.execute(
            "SELECT name FROM guides WHERE guides MATCH ? ORDER BY bm25(guides, 8, 8, 4, 1), name",
            (" AND ".join(f'"{word}" *' for word in words),),
        ).fetchall()
        return [self._guides[name] for (name,) in rows]


def listed_guide(guide: Guide) -> JsonObject:
    """One row of a list."""
    return {"name": guide.name, **guide.model_dump(mode="json", exclude={"name", "text"})}


def shown_guide(guides: Mapping[str, Guide], name: str) -> JsonObject:
    """One guide, complete. Raises Problem (NOT_FOUND)."""
    if name not in guides:
        raise Problem(
            ProblemKind.NOT_FOUND, "unknown_guide", f"there is no guide {name!r:.100}{did_you_mean(name, guides)}"
        )
    return {**listed_guide(guides[name]), "markdown": guides[name].text}


def _about(guide: Guide) -> Iterable[str]:
    yield from (*guide.tags, *guide.findings, *guide.strategies, *guide.targets)
    yield from (matcher.value for matcher in guide.alerts)
