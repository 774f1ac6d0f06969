"""The table of the processes that work on this state."""

from __future__ import annotations

import time

from sqlalchemy import JSON, Boolean, Column, Engine, Integer, String, Table, Text, inspect, select

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
    # What the process is, for the others: none of them may act on it. Null where a version does not tell.
    Column("identity", JSON),
)

_SLOWEST_BEAT_SECONDS = 30.0
_LOOK_SECONDS = 0.5


def beating(reading: Engine) -> list[str]:
    """Who is at work, by looking for as long as a beat may take; at once where nobody is in the list.

    Also for a state of another schema: only what every version has is read.
    """
    with reading.connect() as connection:
        if not inspect(connection).has_table(workers.name):
            return []
    first: dict[str, int] = {}
    end = time.monotonic() + _SLOWEST_BEAT_SECONDS
    while True:
        with reading.connect() as connection:
            beats = {row.id: int(row.beats) for row in connection.execute(select(workers.c.id, workers.c.beats))}
        alive = sorted(id_ for id_, count in beats.items() if first.setdefault(id_, count) != count)
        if alive or not beats or time.monotonic() >= end:
            return alive
        time.sleep(_LOOK_SECONDS)
