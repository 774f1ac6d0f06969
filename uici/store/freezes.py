"""The table of what is frozen without everything being so."""

from __future__ import annotations

from sqlalchemy import JSON, Column, String, Table, Text

from uici.store.schema import metadata
from uici.store.times import UtcText

# A row is in force as long as it is there; who laid and lifted it, the events and the audit log keep.
partial_freezes = Table(
    "partial_freezes",
    metadata,
    Column("id", String(40), primary_key=True),
    # Patterns, as a scope has them.
    Column("environments", JSON, nullable=False),
    Column("targets", JSON, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcText, nullable=False),
)
