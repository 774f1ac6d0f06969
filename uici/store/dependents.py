"""Which runs wait for something that their target depends on. A row for as long as the run waits."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, String, Table, Text

from uici.store.schema import metadata
from uici.store.times import UtcText

dependents = Table(
    "dependents",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("environment", Text, nullable=False),
    Column("target", Text, nullable=False),
    # What it waits for; of several the one that the others may be broken by.
    Column("root_environment", Text, nullable=False),
    Column("root_target", Text, nullable=False),
    # Null where the root is down and no alert has come for it.
    Column("root_incident", String(40)),
    Column("since", UtcText, nullable=False),
    # Whether people were told of it, together with others that wait for the same.
    Column("told", Boolean, nullable=False, default=False),
    Index("dependents_by_root", "root_environment", "root_target"),
)
