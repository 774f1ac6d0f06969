"""Slots: the one limiter of record. A target has one slot; whoever takes it gets a fencing number that every
mutating call checks in the transaction that announces it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, true

from uici.store.schema import slots

_HERE = (slots.c.environment == bindparam("place"), slots.c.target == bindparam("aim"))
SLOT = select(slots.c.run_id, slots.c.fence).where(*_HERE)
ACTING = (
    select(func.count())
    .select_from(slots)
    .where(
        slots.c.environment == bindparam("place"),
        slots.c.run_id.is_not(None),
        slots.c.acting.is_(true()),
        slots.c.run_id != bindparam("run"),
    )
)
_FIRST = slots.insert()
_TAKE = (
    slots.update()
    .where(*_HERE)
    .values(fence=bindparam("number"), run_id=bindparam("run"), acting=True, taken_at=bindparam("now"))
)
_REST = slots.update().where(slots.c.run_id == bindparam("run")).values(acting=False)
_RELEASE = slots.update().where(slots.c.run_id == bindparam("run")).values(run_id=None, acting=False, taken_at=None)


class FencedError(Exception):
    """The slot was taken over since: this run may not act any more."""


def acting(connection: Connection, environment: str, *, except_run: str) -> int:
    """How many runs of the environment are acting now."""
    return connection.execute(ACTING, {"place": environment, "run": except_run}).scalar_one()


def take(connection: Connection, environment: str, target: str, run_id: str, now: datetime) -> int | None:
    """Take the slot; its fencing number, or None while another run holds it. Taking one's own slot again
    returns its number (a repeated stage is not a second holder).
    """
    here = {"place": environment, "aim": target}
    row = connection.execute(SLOT, here).one_or_none()
    if row is None:
        first = {"environment": environment, "target": target, "fence": 1, "run_id": run_id}
        connection.execute(_FIRST, first | {"acting": True, "taken_at": now})
        return 1
    if row.run_id not in (None, run_id):
        return None
    fence = int(row.fence if row.run_id == run_id else row.fence + 1)
    connection.execute(_TAKE, here | {"number": fence, "run": run_id, "now": now})
    return fence


def check(connection: Connection, environment: str, target: str, run_id: str, fence: int | None) -> None:
    """Raise FencedError unless `run_id` still holds the slot under `fence`."""
    row = connection.execute(SLOT, {"place": environment, "aim": target}).one_or_none()
    if row is None or row.run_id != run_id or row.fence != fence:
        raise FencedError(f"{run_id} no longer holds the slot of {environment}/{target}")


def rest(connection: Connection, run_id: str) -> None:
    """Keep the slot but stop counting as acting (while only looking whether it worked)."""
    connection.execute(_REST, {"run": run_id})


def release(connection: Connection, run_id: str) -> None:
    """Give every slot of the run back. The fencing number stays, so that a late call of the run is refused."""
    connection.execute(_RELEASE, {"run": run_id})
