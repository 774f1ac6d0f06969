"""The time that the state is written in: of this machine, or of the database that several machines share."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from uici.store.database import Store


def elapsed() -> float:
    """Seconds that never go back and that go on while a process is stopped or a machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ServiceClock:
    """UTC. Processes that share a database all go by its clock, so that none of their own clocks matters."""

    def __init__(self) -> None:
        self._known: tuple[datetime, float] | None = None
        """What the database's clock showed, and when that was."""

    def now(self) -> datetime:
        """Current time, aware, UTC."""
        if self._known is None:
            return datetime.now(UTC)
        then, at = self._known
        return then + timedelta(seconds=elapsed() - at)

    def follow(self, store: Store) -> None:
        """Take the time of a database that is shared; of another, go on with this machine's. Raises SQLAlchemyError."""
        if not store.shared:
            return
        asked = elapsed()
        with store.read() as connection:
            then: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        # As in NTP: the answer is taken to be made half way between asking and having it.
        self._known = then.astimezone(UTC), (asked + elapsed()) / 2
