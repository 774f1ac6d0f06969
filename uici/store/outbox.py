"""Messages to people, written in the transaction of what they tell of and delivered later (`uici.notify`)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from uici.model.base import JsonObject
from uici.store.schema import outbox

PENDING = "pending"
SENT = "sent"
DEAD = "dead"


def enqueue(
    connection: Connection,
    key: str,
    kind: str,
    message: JsonObject,
    now: datetime,
    *,
    incident: str | None = None,
    run: str | None = None,
) -> bool:
    """Add a message unless one with this `key` was ever added; says whether it was. Once means once."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = (
        insert(outbox)
        .values(
            key=key,
            kind=kind,
            incident_id=incident,
            run_id=run,
            message=message,
            state=PENDING,
            tries=0,
            created_at=now,
            next_at=now,
        )
        .on_conflict_do_nothing(index_elements=["key"])
    )
    return connection.execute(statement).rowcount == 1
