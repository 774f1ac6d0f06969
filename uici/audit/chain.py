"""Adding to the chain, sealing its head, and cutting off its oldest part.

All of it happens in a writing transaction of `uici.store`, of which there is one at a time: so the chain has one head.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select

from uici.audit.entries import NOTHING, Entry, stored
from uici.model.base import Frozen, JsonObject
from uici.store.audited import audit, audit_head
from uici.store.database import Store
from uici.store.inserting import insert_many
from uici.store.times import utc_text

CUT = "audit_cut"
"""The kind of the entry that tells of a cut."""

_OPTION = "audit_seal"

_HEAD = select(audit_head).where(audit_head.c.id == 1)
_FIRST = audit_head.insert()
_MOVE = (
    audit_head.update()
    .where(audit_head.c.id == 1)
    .values(
        seq=bindparam("new_seq"), hash=bindparam("new_hash"), seal=bindparam("new_seal"), key_id=bindparam("new_key")
    )
)


class Seal:
    """A key beside the database, with which the head is signed: who can write only the database cannot forge it."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha256(b"uici audit seal\0" + key.encode("utf-8", "surrogatepass")).digest()
        self.key_id = hashlib.sha256(b"id" + self._key).hexdigest()[:16]

    def of(self, seq: int, hash_: str) -> str:
        """The seal of a head."""
        return hmac.digest(self._key, f"{seq}:{hash_}".encode(), "sha256").hex()


class Head(Frozen):
    """Where the chain ends, and where what is left of it begins."""

    seq: int = 0
    hash: str = NOTHING
    cut_seq: int = 0
    cut_hash: str = NOTHING
    seal: str | None = None
    key_id: str | None = None


def seal_with(store: Store, key: str) -> Seal:
    """From now on what this store writes is sealed with this key."""
    seal = Seal(key)
    store.engine = store.engine.execution_options(**{_OPTION: seal})
    return seal


def record(connection: Connection, *entries: Entry) -> None:
    """Add entries in this writing transaction: they are there exactly when what they tell of is."""
    if not entries:
        return
    row = connection.execute(_HEAD).one_or_none()
    if row is None:
        connection.execute(_FIRST, {"id": 1, **Head().model_dump()})
    seq, previous = (row.seq, row.hash) if row is not None else (0, NOTHING)
    rows: list[JsonObject] = []
    for entry in entries:
        seq += 1
        rows.append(stored(entry, seq, previous))
        previous = rows[-1]["hash"]
    insert_many(connection, audit, rows)
    seal: Seal | None = connection.get_execution_options().get(_OPTION)
    sealed = (seal.of(seq, previous), seal.key_id) if seal is not None else (None, None)
    moved = {"new_seq": seq, "new_hash": previous, "new_seal": sealed[0], "new_key": sealed[1]}
    connection.execute(_MOVE, moved)


def head(connection: Connection) -> Head:
    """The head as the database has it; that of an empty chain where nothing was ever added."""
    row = connection.execute(_HEAD).one_or_none()
    return Head() if row is None else Head.model_validate({name: getattr(row, name) for name in Head.model_fields})


def cut(connection: Connection, before: datetime, now: datetime, *, actor: str = "uici", most: int = 10_000) -> int:
    """Delete the oldest entries, up to the first that is not older than `before`; at most so many. Returns how many.

    In this writing transaction. An entry of its own tells how far the cut went and the hash it ended with, so that what
    is left can still be verified; the newest entry always stays.
    """
    known = head(connection)
    kept = connection.execute(select(func.min(audit.c.seq)).where(audit.c.at >= utc_text(before))).scalar()
    through = min(known.seq - 1, known.cut_seq + most, (kept or known.seq) - 1)
    if through <= known.cut_seq:
        return 0
    hash_: str = connection.execute(select(audit.c.hash).where(audit.c.seq == through)).scalar_one()
    told = {"through": through, "hash": hash_, "older_than": utc_text(before)}
    record(connection, Entry(at=now, kind=CUT, actor=actor, data=told))
    connection.execute(audit_head.update().where(audit_head.c.id == 1).values(cut_seq=through, cut_hash=hash_))
    return connection.execute(audit.delete().where(audit.c.seq <= through)).rowcount
