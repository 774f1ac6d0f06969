"""The store of record of facts: what it does, wherever it is. SQLite here or Redis for several hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from council.memory.vectors import Stored

SHARED = ""
"""The session of what all sessions of a tenant may see."""
ID_DIGITS = 24
"""Hexadecimal digits of a fact's digest that are its id."""
REMEMBERED_SECONDS = 86_400
"""How long it is known that something was forgotten: longer than a process may have had it waiting."""


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


@dataclass(frozen=True, slots=True)
class Kept:
    """A fact on its way to the store."""

    fact: Fact
    digest: str
    """Of tenant, session and text; the id is its beginning."""
    stems: tuple[str, ...]
    vector: Stored | None = None


class StoreAwayError(Exception):
    """The store cannot be reached, or does not do its part. The text says why, and may say where the store is, so it is
    for the log; it holds no secret, and nothing of a fact.
    """


class FactStore(Protocol):
    """Called by one thread at a time. Every method may raise StoreAwayError; then it changed nothing, or a part of what
    it was told to, which the same call then completes.
    """

    def write(self, kept: Sequence[Kept], model: str) -> int:
        """Take these in, with their vectors of `model`. How many were taken.

        What is there already, or was forgotten since, is left out; what was archived is in sight again.
        """

    def known(self, *digests: str) -> bool:
        """Whether one of these is there, and in sight."""

    def found(self, tenant: str, session: str, stems: Iterable[str], limit: int) -> list[Fact]:
        """Those that share most with `stems`, rare ones first, of the session and of what its tenant shares."""

    def listed(self, tenant: str, session: str | None, limit: int) -> list[Fact]:
        """What is in sight, the newest first; of all sessions where none is given."""

    def count(self, tenant: str) -> int:
        """How many facts of a tenant there are, archived ones too."""

    def numbered(self, tenant: str, numbers: Iterable[int]) -> Mapping[int, Fact]:
        """Those of these numbers (`number_of` their ids) that are in sight, and the tenant's."""

    def forget(self, tenant: str, now: float, *, fact: str | None, session: str | None) -> list[str]:
        """Delete one fact, a session's, or all of a tenant, archived ones too, everywhere. Their ids.

        What another process was told before `now`, and has not written yet, is not taken in any more.
        """

    def archive(self, before: float, now: float) -> list[str]:
        """Take out of sight what was told before `before`. The ids."""

    def version(self) -> object:
        """Another one whenever another process may have changed vectors."""

    def vector_numbers(self, model: str) -> set[int]:
        """Of which facts there are vectors of `model`."""

    def vectors(self, model: str, numbers: Collection[int]) -> Iterable[Stored]:
        """These of them."""

    def keep_vectors(self, made: Sequence[tuple[Fact, Stored]], model: str) -> list[Stored]:
        """Vectors of facts that are there already. Those that are kept: of what was forgotten meanwhile none is."""

    def lacking(self, model: str, known: Collection[int], limit: int) -> list[Fact]:
        """Facts in sight without a vector of `model`; `known` are the numbers of those that have one."""

    def look(self) -> None:
        """See whether it is there, as cheaply as that goes."""

    def check(self) -> None:
        """See whether something can be written."""

    def close(self) -> None:
        """Let go of it."""
