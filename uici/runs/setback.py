"""What becomes of the times in the state when the clock is set back."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, select

from uici.ports import Clock
from uici.runs.data import RunState
from uici.runs.workers import LATEST_TIME
from uici.store.database import Store
from uici.store.inserting import insert_or_leave
from uici.store.schema import approvals, meta, runs
from uici.store.times import utc_text

_log = structlog.get_logger(__name__)

_JITTER = timedelta(seconds=2)
_SHOWN = select(meta.c.value).where(LATEST_TIME)


class SetbackWatch:
    """Notices that the clock was set back: every time in the state is too late then, by as much."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen_at: datetime | None = None

    def look(self) -> None:
        """Let all that waits look again, let no target rest until the clock has caught up, and keep a question open as
        long as was promised. Raises SQLAlchemyError.
        """
        now, before = self._clock.now(), self._seen_at
        if before is None or before - now > _JITTER:
            with self._store.write() as connection:
                connection.execute(runs.update().where(runs.c.ended_at > now).values(ended_at=now))
                connection.execute(runs.update().where(runs.c.acted_at > now).values(acted_at=now))
                back = self._back(connection, before, now)
                if back is not None:
                    _log.warning("clock_set_back", seconds=back.total_seconds())
                    late = (runs.c.state == RunState.WAITING) & (runs.c.due_at > now)
                    connection.execute(runs.update().where(late).values(due_at=now))
                    _move_questions(connection, back)
        self._seen_at = now

    def _back(self, connection: Connection, before: datetime | None, now: datetime) -> timedelta | None:
        """By how much it was set back; None where it was not, or where another process has seen to it."""
        if not self._store.shared:
            return None if before is None else before - now
        shown = utc_text(now)
        connection.execute(insert_or_leave(connection, meta, "name"), {"name": "latest_time", "value": shown})
        latest = datetime.fromisoformat(connection.execute(_SHOWN).scalar_one())
        if latest - now <= _JITTER:
            return None
        connection.execute(meta.update().where(LATEST_TIME).values(value=shown))
        return latest - now


def _move_questions(connection: Connection, back: timedelta) -> None:
    open_ = select(approvals.c.id, approvals.c.expires_at).where(approvals.c.state == "pending")
    for row in connection.execute(open_).all():
        moved = approvals.update().where(approvals.c.id == row.id)
        connection.execute(moved.values(expires_at=row.expires_at - back))
