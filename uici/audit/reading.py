"""Looking at the log, for the API."""

from __future__ import annotations

from uici.audit.chain import head
from uici.audit.entries import shown
from uici.audit.verifying import rows
from uici.model.base import JsonObject
from uici.store.database import Store


class AuditLog:
    """What may be seen of the audit log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def entries(self, after: int, limit: int) -> JsonObject:
        """Entries after this one, oldest first."""
        with self._store.read() as connection:
            found = [shown(row) for row in rows(connection, after=after, most=limit)]
        return {"entries": found, "next": found[-1]["seq"] if found else after}

    def head(self) -> JsonObject:
        """The newest entry's number and hash, and the oldest that is kept."""
        with self._store.read() as connection:
            known = head(connection)
        return {"seq": known.seq, "hash": known.hash, "first": known.cut_seq + 1, "sealed_by": known.key_id}
