"""The table of what is left of outcomes that are not kept one by one any more."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

from uici.store.schema import metadata
from uici.store.times import UtcText

outcome_sums = Table(
    "outcome_sums",
    metadata,
    Column("strategy", Text, primary_key=True),
    Column("remedy", Text, primary_key=True),
    Column("environment", Text, primary_key=True),
    # Empty where nothing was judged.
    Column("verdict", String(16), primary_key=True),
    Column("outcomes", Integer, nullable=False),
    # Of those that count, and their sum.
    Column("rewarded", Integer, nullable=False),
    Column("reward", Float, nullable=False),
    Column("first_at", UtcText, nullable=False),
    Column("last_at", UtcText, nullable=False),
)
