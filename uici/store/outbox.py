"""Messages to people, written in the transaction of what they tell of and delivered later (`uici.notify`)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from uici.model.base import JsonObject
from uici.model.masking import mask
from uici.model.settings import MessageKind
from uici.store.inserting import insert_into
from uici.store.schema import outbox


class DeliveryState(StrEnum):
    """How far a message has come on one channel."""

    PENDING = "pending"  # to be sent, or sent again
    HELD = "held"  # too many of its kind: it will be summarised
    SUMMARISED = "summarised"  # told of by the summary `summary_id`
    SENT = "sent"  # the receiver accepted it
    DEAD = "dead"  # given up; a person may have it tried again


def enqueue(
    connection: Connection,
    key: str,
    kind: MessageKind,
    message: JsonObject,
    now: datetime,
    *,
    severity: str = "",
    incident: str | None = None,
    run: str | None = None,
    channel: str | None = None,
) -> bool:
    """Add a message unless one with this `key` was ever added; says whether it was. Once means once.

    What looks like a secret is masked before it is stored. `severity` is the alert's, empty where there is none;
    `channel` names the only one that gets it.
    """
    statement = (
        insert_into(connection, outbox)
        .values(
            key=key,
            kind=kind,
            severity=severity,
            incident_id=incident,
            run_id=run,
            channel=channel,
            message=mask({**message, "severity": severity}),
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(outbox.c.id)
    )
    return connection.execute(statement).first() is not None
