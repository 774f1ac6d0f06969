"""The table of the processes that work on this state."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, String, Table, Text

from uici.store.schema import metadata
from uici.store.times import UtcText

# One row for each process at work. Whoever finds that one does not beat any more deletes its row, and with it its right
# to write: a run belongs to a worker, and a worker without a row has none.
workers = Table(
    "workers",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", UtcText, nullable=False),
    Column("seen_at", UtcText, nullable=False),
    # Counted: whoever watches measures by its own clock how long it stands still.
    Column("beats", Integer, nullable=False, default=0),
    Column("draining", Boolean, nullable=False, default=False),
)
