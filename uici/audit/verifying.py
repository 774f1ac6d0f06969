"""Proving that no entry was changed, removed, added or moved: reads everything once, in bounded memory."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from uici.audit.chain import CUT, Head, Seal, head
from uici.audit.entries import NOTHING, hash_of, read_back
from uici.model.base import Frozen, JsonObject
from uici.store.audited import audit

_AT_ONCE = 500
_LONGEST_LINE = 1_048_576


class Report(Frozen):
    """What was found."""

    entries: int
    first: int
    """Sequence number of the first entry that was read; 0 when there is none."""
    last: int
    hash: str
    """Of the last entry: to be kept elsewhere, and given as `--expect` next time."""
    problem: str | None = None
    """The first thing that is wrong, in words; None when all is well."""
    notes: tuple[str, ...] = ()
    """What could not be checked, and why."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


class _Walk:
    """One pass over the chain."""

    def __init__(self, seq: int | None, hash_: str | None, expect: tuple[int, str] | None) -> None:
        self.seq = seq
        self.hash = hash_
        self.entries = 0
        self.first = 0
        self.cut: tuple[int, str] | None = None
        self._expect = expect
        self.met_expected = expect is None or (seq, hash_) == expect

    def begin(self, seq: int, hash_: str) -> None:
        """The first entry is the one after this."""
        self.seq, self.hash = seq, hash_
        self.met_expected = self.met_expected or (seq, hash_) == self._expect

    def step(self, row: JsonObject) -> str | None:
        """What is wrong with the next entry, or None."""
        seq: int = row["seq"]
        problem = self._place(seq) or _content(row)
        if problem is None and self.hash is not None and row["previous"] != self.hash:
            problem = (
                f"entry {seq} does not follow from entry {seq - 1}: one of the two was replaced, moved or put in later"
            )
        if problem is None and self._expect is not None and seq == self._expect[0]:
            self.met_expected = hmac.compare_digest(row["hash"], self._expect[1])
            if not self.met_expected:
                problem = f"entry {seq} is not the one that was expected: everything up to it may have been rewritten"
        if problem is not None:
            return problem
        if row["kind"] == CUT:
            told = json.loads(row["data"])
            self.cut = (told.get("through", -1), told.get("hash", ""))
        self.seq, self.hash = seq, row["hash"]
        self.entries += 1
        self.first = self.first or seq
        return None

    def report(self, problem: str | None, notes: Iterable[str] = ()) -> Report:
        if problem is None and not self.met_expected and self._expect is not None:
            problem = f"entry {self._expect[0]}, which was expected, is not there: the end was cut off"
        return Report(
            entries=self.entries,
            first=self.first,
            last=self.seq or 0,
            hash=self.hash or NOTHING,
            problem=problem,
            notes=tuple(notes),
        )

    def _place(self, seq: int) -> str | None:
        if self.seq is None or seq == self.seq + 1:
            return None
        if seq <= self.seq:
            return f"entry {seq} comes after entry {self.seq}: it was moved, or is there twice"
        gone = f"entry {self.seq + 1} is" if seq == self.seq + 2 else f"entries {self.seq + 1} to {seq - 1} are"
        return f"{gone} missing"


def verify_stored(connection: Connection, seal: Seal | None, expect: tuple[int, str] | None = None) -> Report:
    """Verify the chain in the database, up to the head as it is now. `expect`: an entry that was noted down before."""
    known = head(connection)
    walk = _Walk(known.cut_seq, known.cut_hash, expect)
    if expect is not None and expect[0] < known.cut_seq:
        walk.met_expected = True
    try:
        for row in rows(connection, after=known.cut_seq, through=known.seq):
            problem = walk.step(row)
            if problem is not None:
                return walk.report(problem)
    except SQLAlchemyError as error:
        return walk.report(f"what follows entry {walk.seq} cannot be read: {getattr(error, 'orig', error)}")
    return walk.report(_ending(connection, walk, known) or _sealing(known, seal), _notes(known, seal, expect))


def verify_lines(lines: Iterable[str], expect: tuple[int, str] | None = None) -> Report:
    """Verify exported entries, which may begin anywhere in the chain."""
    walk = _Walk(None, None, expect)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = read_back(json.loads(line))
        except (ValueError, RecursionError) as error:
            return walk.report(f"line {number} is not an entry: {error}")
        if walk.seq is None:
            walk.begin(row["seq"] - 1, row["previous"])
        problem = walk.step(row)
        if problem is not None:
            return walk.report(f"line {number}: {problem}")
    notes = ["a file says nothing of what came after its last entry, nor of what came before its first"]
    return walk.report(None, notes)


def rows(
    connection: Connection, *, after: int = 0, through: int | None = None, most: int | None = None
) -> Iterator[JsonObject]:
    """The stored rows in their order, a few at a time."""
    left = most
    while left is None or left > 0:
        # Page by page: a cursor on the server would need a transaction, which readers have none of.
        page = _AT_ONCE if left is None else min(_AT_ONCE, left)
        query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(page)
        if through is not None:
            query = query.where(audit.c.seq <= through)
        found = connection.execute(query).mappings().all()
        for row in found:
            yield dict(row)
        if len(found) < page:
            return
        after = int(found[-1]["seq"])
        left = None if left is None else left - page


def lines_of(stream: Any) -> Iterator[str]:
    """The lines of an export, of which none may be longer than an entry can be. Raises ValueError."""
    while line := stream.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"a line has more than {_LONGEST_LINE} characters: this is not an export")
        yield line


def _content(row: JsonObject) -> str | None:
    try:
        found = hash_of(row)
    except TypeError:  # a database without types may hold anything
        found = ""
    if hmac.compare_digest(found, str(row["hash"])):
        return None
    return f"entry {row['seq']} was changed: its content does not have its hash"


def _ending(connection: Connection, walk: _Walk, known: Head) -> str | None:
    if (walk.seq, walk.hash) != (known.seq, known.hash):
        if (walk.seq or 0) < known.seq:
            first = (walk.seq or 0) + 1
            gone = f"entry {first} is" if first == known.seq else f"entries {first} to {known.seq} are"
            return f"{gone} missing at the end: the head says that there are {known.seq}"
        return f"the head does not have the hash of entry {known.seq}: one of the two was changed"
    beyond = connection.execute(select(audit.c.seq, audit.c.previous).where(audit.c.seq == known.seq + 1)).first()
    if beyond is not None and head(connection).seq == known.seq:
        return f"entry {beyond.seq} is beyond the head: it was put in past the log"
    if known.cut_seq and walk.cut != (known.cut_seq, known.cut_hash):
        return f"the log begins after entry {known.cut_seq}, but its newest cut says {walk.cut}: the front was removed"
    return None


def _sealing(known: Head, seal: Seal | None) -> str | None:
    if seal is None or known.seq == 0:
        return None
    if known.seal is None:
        return "the head is not sealed: it was written without the key"
    if known.key_id != seal.key_id:
        return f"the head is sealed with another key ({known.key_id}) than the configured one ({seal.key_id})"
    if not hmac.compare_digest(known.seal, seal.of(known.seq, known.hash)):
        return "the head's seal is not the key's: the end was cut off, or the log rewritten, without the key"
    return None


def _notes(known: Head, seal: Seal | None, expect: tuple[int, str] | None) -> Iterator[str]:
    if expect is not None and expect[0] < known.cut_seq:
        yield f"entry {expect[0]}, which was expected, was cut off by retention; the cut is recorded"
    if seal is None:
        sealed = "although the head has a seal" if known.seal is not None else "the head has none"
        yield f"no seal was checked: no key is configured (platform.yml: audit.seal), {sealed}"
    if expect is None:
        yield "an end that was cut off together with the head is found only with --expect and a head noted elsewhere"
