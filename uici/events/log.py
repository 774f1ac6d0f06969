"""The event log: rows written in the transaction of what they tell of, so the log never lies about it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, select

from uici.audit.chain import record
from uici.events.decisions import entry_of
from uici.model.base import Frozen, JsonObject
from uici.model.masking import mask
from uici.model.scope import EVERYTHING, Scope
from uici.ports import Clock
from uici.store import schema
from uici.store.database import Store
from uici.store.inserting import insert_many
from uici.store.scoping import within

_LOOK_SECONDS = 0.5


class Event(Frozen):
    """One thing that happened. `seq` grows by time of commit order."""

    seq: int
    at: datetime
    type: str
    incident: str | None
    run: str | None
    environment: str | None
    target: str | None
    data: JsonObject


class EventLog:
    """Appends to and reads from the log; wakes followers in this process at once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._news = threading.Condition()
        self._collected: dict[Connection, list[JsonObject]] = {}
        """What the transactions under way will append."""

    @contextmanager
    def writing(self, *, urgent: bool = False) -> Iterator[Connection]:
        """A writing transaction after whose commit the followers are woken; `urgent` as in `Store.write`."""
        with self._store.write(urgent=urgent) as connection:
            collected = self._collected[connection] = []
            try:
                yield connection
            finally:
                del self._collected[connection]
            if collected:
                _insert(connection, collected)
        with self._news:
            self._news.notify_all()

    def append(
        self,
        connection: Connection,
        type_: str,
        *,
        incident: str | None = None,
        run: str | None = None,
        environment: str | None = None,
        target: str | None = None,
        **data: object,
    ) -> None:
        """Add one event to the transaction. Values that look like secrets are masked before they are stored."""
        self.add(
            connection,
            self.drafted(type_, incident=incident, run=run, environment=environment, target=target, **data),
        )

    def drafted(
        self,
        type_: str,
        *,
        incident: str | None = None,
        run: str | None = None,
        environment: str | None = None,
        target: str | None = None,
        **data: object,
    ) -> JsonObject:
        """An event of this moment, for a later `add`. Values that look like secrets are masked."""
        return {
            "at": self._clock.now(),
            "type": type_,
            "incident_id": incident,
            "run_id": run,
            "environment": environment,
            "target": target,
            "data": mask(data),
        }

    def add(self, connection: Connection, event: JsonObject) -> None:
        """Add a drafted event to the transaction."""
        collected = self._collected.get(connection)
        if collected is None:
            _insert(connection, [event])
        else:
            collected.append(event)

    def read(
        self,
        *,
        run: str | None = None,
        incident: str | None = None,
        after: int = 0,
        limit: int = 1000,
        scope: Scope = EVERYTHING,
    ) -> list[Event]:
        """Events later than `after`, oldest first, of one run, one incident, or all; only of what the scope covers."""
        columns = schema.events.c
        query = select(schema.events).where(columns.seq > after, *within(scope, columns))
        query = query.order_by(columns.seq).limit(limit)
        if run is not None:
            query = query.where(columns.run_id == run)
        if incident is not None:
            query = query.where(columns.incident_id == incident)
        with self._store.read() as connection:
            return [
                Event(
                    seq=row.seq,
                    at=row.at,
                    type=row.type,
                    incident=row.incident_id,
                    run=row.run_id,
                    environment=row.environment,
                    target=row.target,
                    # Again: by now more secrets may be known than when it was written.
                    data=mask(row.data),
                )
                for row in connection.execute(query)
            ]

    def latest(self, but: int = 0) -> int:
        """The `seq` of the newest event but so many; 0 when there are not so many."""
        seq = schema.events.c.seq
        with self._store.read() as connection:
            return connection.execute(select(seq).order_by(seq.desc()).offset(but).limit(1)).scalar() or 0

    def wait(self, after: int, timeout: float) -> None:
        """Block until something later than `after` exists, or `timeout` seconds have passed."""
        until = time.monotonic() + timeout
        # Nobody wakes us for what another process wrote.
        pause = _LOOK_SECONDS if self._store.shared else timeout
        with self._news:
            while self.latest() <= after and (left := until - time.monotonic()) > 0:
                self._news.wait(min(pause, left))


def _insert(connection: Connection, drafted: list[JsonObject]) -> None:
    """In one statement, which many events of one transaction feel; decisions into the audit log as well."""
    insert_many(connection, schema.events, drafted)
    record(connection, *(entry for event in drafted if (entry := entry_of(event)) is not None))
