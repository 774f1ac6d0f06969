"""Vectors of facts in memory, by FAISS: one index for each session, so none ever sees another's.

The store of record is elsewhere (`council.memory.fact_store`), which also guards this against several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from council.memory.vector_index import SessionIndex
from council.settings import VectorSettings
from uici.model.errors import Problem, ProblemKind

NUMBER_DIGITS = 15
"""Hexadecimal digits of a fact's id that make its number: as many as fit into 63 bits."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A vector as the store has it."""

    number: int
    tenant: str
    session: str
    vector: bytes


class Vectors:
    """Inner products of vectors of length 1, which are cosines."""

    def __init__(self, settings: VectorSettings | None = None) -> None:
        """Raises Problem where FAISS is not installed."""
        try:
            import faiss
            import numpy
        except ImportError:
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "faiss_missing",
                "memory.vectors needs FAISS, which is not installed",
                where="agents.yml: memory.vectors",
                hint="pip install 'uici[vectors]'",
            ) from None
        self._faiss: Any = faiss
        self._numpy: Any = numpy
        self._settings = settings or VectorSettings()
        self._of: dict[tuple[str, str], SessionIndex] = {}
        self._places: dict[int, tuple[str, str]] = {}
        self.key = ""
        """Which model's vectors these are, and how long; empty before any."""
        self._dimension = 0

    @property
    def numbers(self) -> frozenset[int]:
        """All that are in it."""
        return frozenset(self._places)

    def kinds(self) -> Mapping[str, int]:
        """How many sessions are searched exactly, and how many in cells."""
        for index in self._of.values():
            index.settle()
        in_cells = sum(index.in_cells for index in self._of.values())
        return {"exact": len(self._of) - in_cells, "in_cells": in_cells}

    def begin(self, model: str, dimension: int) -> bool:
        """Be for vectors of this model and length. Whether that is new; then it is empty."""
        key = f"{model}/{dimension}"
        if key == self.key:
            return False
        self.key, self._dimension = key, dimension
        self._of.clear()
        self._places.clear()
        return True

    def fits(self, vector: bytes) -> bool:
        """Whether it is as long as those that are in it."""
        return len(vector) == 4 * self._dimension > 0

    def packed(self, vector: Sequence[float]) -> bytes:
        """A vector as it is stored: of length 1, in 32 bits each."""
        row = self._numpy.asarray(vector, dtype="float32")
        length = float(self._numpy.linalg.norm(row))
        return bytes((row / length if length else row).tobytes())

    def add(self, stored: Iterable[Stored]) -> None:
        """Take them in; those of another length, and those that are there, are left out."""
        found: dict[tuple[str, str], list[Stored]] = {}
        for each in stored:
            if each.number not in self._places and self.fits(each.vector):
                found.setdefault((each.tenant, each.session), []).append(each)
                self._places[each.number] = (each.tenant, each.session)
        for place, some in found.items():
            if place not in self._of:
                given = self._settings
                self._of[place] = SessionIndex(
                    self._faiss, self._numpy, self._dimension, given.exact_to, given.least_recall
                )
            numbers = self._numpy.array([each.number for each in some], dtype="int64")
            self._of[place].add(self._rows(each.vector for each in some), numbers)

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget these; nothing is left of them."""
        found: dict[tuple[str, str], list[int]] = {}
        for number in numbers:
            place = self._places.pop(number, None)
            if place is not None:
                found.setdefault(place, []).append(number)
        for place, some in found.items():
            self._of[place].remove(self._numpy.array(some, dtype="int64"))
            if not self._of[place].size:
                del self._of[place]

    def nearest(self, tenant: str, sessions: Iterable[str], vector: bytes, limit: int) -> list[tuple[int, float]]:
        """The nearest of these sessions with their cosines, the nearest first."""
        if not self.fits(vector):
            return []
        found: list[tuple[int, float]] = []
        for session in dict.fromkeys(sessions):
            index = self._of.get((tenant, session))
            if index is not None:
                found += index.search(self._rows([vector]), limit)
        return sorted(found, key=lambda each: -each[1])[:limit]

    def _rows(self, vectors: Iterable[bytes]) -> Any:
        joined = b"".join(vectors)
        return self._numpy.frombuffer(joined, dtype="float32").reshape(-1, self._dimension)


def number_of(fact: str) -> int:
    """The number of a fact with this id."""
    return int(fact[:NUMBER_DIGITS], 16)
