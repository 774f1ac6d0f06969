"""Words of a text: sentences, stems, and what kind of answer a question asks for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import snowballstemmer

_WORD = re.compile(r"[^\W_]+(?:[.'][^\W_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MOST_STEMS = 2000
"""Of one text; more is a document, which nobody quotes as an answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a question is about."""

    subject: frozenset[str]
    """Stems that an answer has to be about."""
    kinds: tuple[str, ...]
    """Stems that say what kind of thing is asked for, such as a colour."""


class Language:
    """Stems of one language (Snowball's), its words without meaning, and what kinds of answers look like."""

    def __init__(self, name: str, empty: Sequence[str], kinds: Mapping[str, Sequence[str]]) -> None:
        """`kinds` are words that stand for one of several values, such as `colour` for names of colours."""
        self._stemmer = snowballstemmer.stemmer(name)
        # The stemmer keeps the word that it is at in itself.
        self._lock = threading.Lock()
        self._empty = frozenset(word.lower() for word in empty)
        self.key = " ".join((name, *sorted(self._empty)))
        """What an index of stems depends on."""
        self._kinds = {self._stem(word): frozenset(map(self._stem, values)) for word, values in kinds.items()}

    def stems(self, text: str) -> list[str]:
        """The stems of the words that mean something, in their order."""
        words = [word.lower() for word in _WORD.findall(text)][:_MOST_STEMS]
        return [self._stem(word) for word in words if word not in self._empty]

    def question(self, text: str) -> Question:
        """What `text` asks for."""
        stems = self.stems(text)
        kinds = tuple(dict.fromkeys(stem for stem in stems if stem in self._kinds))
        return Question(frozenset(stems) - set(kinds), kinds)

    def coverage(self, question: Question, stems: frozenset[str]) -> float:
        """Which part of what is asked a text with these stems has, from 0 to 1."""
        if not question.subject & stems:
            return 0.0
        kinds = sum(kind in stems or bool(self._kinds[kind] & stems) for kind in question.kinds)
        return (len(question.subject & stems) + kinds) / (len(question.subject) + len(question.kinds))

    def _stem(self, word: str) -> str:
        with self._lock:
            return str(self._stemmer.stemWord(word.lower()))


def sentences(text: str) -> list[str]:
    """The sentences of a text, none of them empty."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]
