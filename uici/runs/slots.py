"""Slots: the one limiter of record. A target has one slot; whoever takes it gets a fencing number that every
mutating call checks in the transaction that announces it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select

from uici.store.schema import slots


class FencedError(Exception):
    """The slot was taken over since: this run may not act any more."""


def holder(connection: Connection, environment: str, target: str) -> str | None:
    """The run that holds the target's slot."""
    return connection.execute(
        select(slots.c.run_id).where(slots.c.environment == environment, slots.c.target == target)
    ).scalar_one_or_none()


def acting(connection: Connection, environment: str, *, except_run: str | None = None) -> int:
    """How many runs of the environment are acting now."""
    query = (
        select(func.count())
        .select_from(slots)
        .where(slots.c.environment == environment, slots.c.run_id.is_not(None), slots.c.acting.is_(True))
    )
    if except_run is not None:
        query = query.where(slots.c.run_id != except_run)
    return connection.execute(query).scalar_one()


def take(connection: Connection, environment: str, target: str, run_id: str, now: datetime) -> int | None:
    """Take the slot; its fencing number, or None while another run holds it. Taking one's own slot again
    returns its number (a repeated stage is not a second holder).
    """
    row = connection.execute(
        select(slots).where(slots.c.environment == environment, slots.c.target == target)
    ).one_or_none()
    if row is None:
        connection.execute(
            slots.insert().values(
                environment=environment, target=target, fence=1, run_id=run_id, acting=True, taken_at=now
            )
        )
        return 1
    if row.run_id not in (None, run_id):
        return None
    fence = row.fence if row.run_id == run_id else row.fence + 1
    connection.execute(
        slots.update()
        .where(slots.c.environment == environment, slots.c.target == target)
        .values(fence=fence, run_id=run_id, acting=True, taken_at=now)
    )
    return int(fence)


def check(connection: Connection, environment: str, target: str, run_id: str, fence: int | None) -> None:
    """Raise FencedError unless `run_id` still holds the slot under `fence`."""
    held = connection.execute(
        select(slots.c.fence).where(
            slots.c.environment == environment, slots.c.target == target, slots.c.run_id == run_id
        )
    ).scalar_one_or_none()
    if held is None or held != fence:
        raise FencedError(f"{run_id} no longer holds the slot of {environment}/{target}")


def rest(connection: Connection, run_id: str) -> None:
    """Keep the slot but stop counting as acting (while only looking whether it worked)."""
    connection.execute(slots.update().where(slots.c.run_id == run_id).values(acting=False))


def release(connection: Connection, run_id: str) -> None:
    """Give every slot of the run back. The fencing number stays, so that a late call of the run is refused."""
    connection.execute(slots.update().where(slots.c.run_id == run_id).values(run_id=None, acting=False, taken_at=None))
