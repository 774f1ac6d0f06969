"""Which runs are due, in the order in which they get a thread."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, zip_longest
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from uici.runs.data import RunState
from uici.store.schema import runs

_DUE = (
    select(runs.c.id, runs.c.part)
    .where(
        runs.c.state == RunState.WAITING,
        runs.c.due_at <= bindparam("now"),
        runs.c.environment.is_not_distinct_from(bindparam("place")),
    )
    .order_by(runs.c.due_at, runs.c.created_at)
    .limit(bindparam("most"))
)
_OF_A_TARGET = _DUE.where(runs.c.target.is_not(None))
_OF_NO_TARGET = _DUE.where(runs.c.target.is_(None))


class Due(NamedTuple):
    """A run whose next part may begin."""

    id: str
    part: int


def due_runs(connection: Connection, now: datetime, place: str | None, most: int) -> Iterator[Due]:
    """The runs that are due in an environment, the longest due first, at most twice `most`.

    A target has one open incident, and with it one run that waits, so among targets nobody is passed over by another
    twice. Alerts whose target is not known yet may be any number, each with a run of its own: those take turns with the
    runs of targets, so that a flood of them delays a target by as many places as are due before it of its own kind.
    """
    here = {"now": now, "place": place, "most": most}
    targets = connection.execute(_OF_A_TARGET, here).all()
    others = connection.execute(_OF_NO_TARGET, here).all()
    in_turn = chain.from_iterable(zip_longest(targets, others))
    return (Due(row.id, row.part) for row in in_turn if row is not None)
