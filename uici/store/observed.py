"""The table of what autonomy held back."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, String, Table, Text

from uici.store.schema import metadata
from uici.store.times import UtcText

# What a run would have done, had its autonomy allowed it: as a preview shows it, at the moment when the guards spoke.
observed = Table(
    "observed",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("incident_id", String(40)),
    Column("environment", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("strategy", Text),
    Column("remedy", Text),
    Column("cid", String(80), nullable=False),
    Column("risk", String(16), nullable=False),
    Column("level", String(16), nullable=False),
    Column("otherwise", String(16), nullable=False),
    Column("preview", JSON, nullable=False),
    Column("at", UtcText, nullable=False),
    Index("observed_by_time", "at"),
)
