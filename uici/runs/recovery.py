"""Taking up again what a dead process, or a state that could not be written, has left in its midst."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from dbos import DBOS, WorkflowStatus
from sqlalchemy import Row, select

from uici.model.alert import AlertOutcome
from uici.model.base import JsonObject
from uici.runs.data import RunData, RunState, Stage
from uici.runs.services import Services
from uici.runs.stages.closing import end_plainly
from uici.store.schema import runs

log = structlog.get_logger(__name__)

_AT_ONCE = 200
_LOST_AFTER = timedelta(seconds=5)
_GIVEN_UP = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"


class Recovery:
    """Looks for parts of runs that nobody is at work on."""

    def __init__(self, services: Services, at_work: Callable[[str], bool], forget: Callable[[str], None]) -> None:
        """`at_work` tells of a part whether it has a thread of this process, `forget` gives that thread back."""
        self._services = services
        self._at_work = at_work
        self._forget = forget
        self._unbegun: dict[str, float] = {}
        """Parts that were taken up, but that the engine does not know, and since when."""

    def left_by_the_dead(self) -> list[str]:
        """Have the parts begun again that were under way in processes which are gone; returns their names.

        The engine puts them in a queue, out of which each is taken once, by any process. Raises SQLAlchemyError.
        """
        # First what is under way, then who is alive: a process is in the list before it begins anything.
        known = DBOS.list_workflows(status=["PENDING"], load_input=False, load_output=False)
        alive = self._services.workers.alive()
        left = [item for item in known if item.executor_id not in alive]
        if left:
            log.info("recovering_runs", workflows=len(left))
            DBOS._recover_pending_workflows(sorted({str(item.executor_id) for item in left}))
        return [item.workflow_id for item in left]

    def rescue_lost(self) -> None:
        """Take up again, from its row, a run whose present part has ended without taking it further.

        That happens when the state could not be written for a while. What such a part had sent is in `attempts`, so
        going on from the row is safe; a run that needs it again and again goes to people. Raises SQLAlchemyError.
        """
        now = self._services.clock.now()
        with self._services.store.read() as connection:
            rows = connection.execute(
                select(runs.c.id, runs.c.part, runs.c.state)
                .where(
                    (runs.c.state == RunState.ACTIVE)
                    | ((runs.c.state == RunState.WAITING) & (runs.c.due_at < now - _LOST_AFTER))
                )
                .order_by(runs.c.state, runs.c.due_at)
                .limit(_AT_ONCE)
            ).all()
        # What waits and is not at work here waits for a thread.
        keys = [f"{row.id}:{row.part}" for row in rows]
        at_work_here = {key for key in keys if self._at_work(key)}
        looked_at = [
            (key, row)
            for key, row in zip(keys, rows, strict=True)
            if row.state == RunState.ACTIVE or key in at_work_here
        ]
        known = _statuses([key for key, _ in looked_at])
        unbegun = {}
        for key, row in looked_at:
            at_work = key in at_work_here
            status = known.get(key)
            if status is None and not at_work:
                unbegun[key] = since = self._unbegun.get(key, time.monotonic())
                # Another process may be between taking it up and beginning it.
                if not self._services.store.shared or time.monotonic() - since > _LOST_AFTER.total_seconds():
                    self._put_back(row.id, row.part)
            if status is None or status.status in ("PENDING", "ENQUEUED", "DELAYED"):
                continue
            # Ended just now: the row may only have been read before that. Later than now, by a clock that was set
            # back since, says nothing of that; the row then is as old as the jump at least.
            if 0 <= time.time() - (status.updated_at or 0) / 1000 < _LOST_AFTER.total_seconds():
                continue
            log.error("run_lost", run_id=row.id, part=row.part, workflow=status.status)
            self._forget(key)
            self._take_up_again(row.id, row.part, status.status)
        self._unbegun = unbegun

    def _put_back(self, run_id: str, part: int) -> None:
        """A run that was taken up, but whose part nobody began: it waits again."""
        with self._services.store.write() as connection:
            connection.execute(
                runs.update()
                .where(runs.c.id == run_id, runs.c.part == part, runs.c.state == RunState.ACTIVE)
                .values(state=RunState.WAITING, due_at=self._services.clock.now())
            )
        self._services.wake()

    def _take_up_again(self, run_id: str, part: int, status: str) -> None:
        limit = self._services.site().platform.runs.max_recovery_attempts
        with self._services.store.write() as connection:
            here = (runs.c.id == run_id) & (runs.c.part == part) & (runs.c.state != RunState.ENDED)
            row = connection.execute(select(runs).where(here)).one_or_none()
            if row is None:
                return
            data = RunData.model_validate(row.data or beginning(row))
            data = data.model_copy(update={"part": part + 1, "rescues": data.rescues + 1})
            gone = data.rescues > limit or status == _GIVEN_UP
            if gone and data.stage is Stage.CLOSE:
                end_plainly(connection, self._services, data)
                return
            if gone:
                reason = f"lost: its stage {row.stage} ended {data.rescues} times without a result ({status})"
                data = data.ending(AlertOutcome.ESCALATED, reason)
            connection.execute(
                runs.update()
                .where(here)
                .values(
                    state=RunState.WAITING,
                    stage=data.stage,
                    part=data.part,
                    due_at=self._services.clock.now(),
                    waiting_for="rescue",
                    data=data.model_dump(mode="json", exclude_defaults=True),
                )
            )
        self._services.wake()


def _statuses(keys: list[str]) -> dict[str, WorkflowStatus]:
    """What the engine knows of these parts, asked once for all: each question is several ways to the database."""
    if not keys:
        return {}
    found = DBOS.list_workflows(workflow_ids=keys, load_input=False, load_output=False)
    return {status.workflow_id: status for status in found}


def beginning(row: Row[Any]) -> JsonObject:
    """The state of a run that has not written any yet."""
    return {
        "run_id": row.id,
        "part": row.part,
        "stage": row.stage,
        "origin": row.origin,
        "actor": row.actor,
        "incident_id": row.incident_id,
        "environment": row.environment,
        "target": row.target,
    }
