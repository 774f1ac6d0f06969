"""Where UICI has stopped acting by itself, because much of the environment fails at once."""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text

from uici.store.schema import metadata
from uici.store.times import UtcText

brakes = Table(
    "brakes",
    metadata,
    Column("environment", Text, primary_key=True),
    # Null while it is off.
    Column("engaged_at", UtcText),
    Column("failing", Integer, nullable=False),
    Column("targets", Integer, nullable=False),
    # Since when less fails than what it is released at.
    Column("below_since", UtcText),
    # A person's word: until then it is not put on again.
    Column("lifted_until", UtcText),
    Column("lifted_by", Text),
    Column("lifted_reason", Text),
)
