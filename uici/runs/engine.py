"""The durable engine: DBOS Transact runs the parts of runs, and a ticker starts those that are due.

A run that waits (for people, for a slot, for its next look) is a row with a due time, not a sleeping
workflow; its next part is a new workflow whose id is `<run>:<part>`, so starting it twice starts it once.
See docs/decisions/0001 and 0002.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import Connection, Row, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from uici.model.alert import AlertOutcome
from uici.model.base import JsonObject
from uici.runs.data import RunData, RunState, Stage
from uici.runs.journal import JsonSerializer, forget_ended_parts
from uici.runs.lease import Lease
from uici.runs.records import StalePartError
from uici.runs.services import Services
from uici.runs.stages import StageFailedError, advance
from uici.runs.stages.closing import end_plainly
from uici.store.schema import approvals, runs

log = structlog.get_logger(__name__)

_APPLICATION_VERSION = "uici-1"
"""Fixed: its default hashes the sources, and a new build would strand the runs of the old one."""
_DUE_AT_ONCE = 200
_CLOCK_JITTER = timedelta(seconds=2)
_LOST_AFTER = timedelta(seconds=5)
_FORGET_SECONDS = 30.0
_GIVEN_UP = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"

_RUN = select(runs).where(runs.c.id == bindparam("run"))
_NEXT_DUE = select(func.min(runs.c.due_at)).where(runs.c.state == RunState.WAITING, runs.c.due_at > bindparam("now"))
_WANTED = (
    select(runs.c.environment).where(runs.c.state == RunState.WAITING, runs.c.due_at <= bindparam("now")).distinct()
)
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
_TAKE_UP = (
    runs.update()
    .where(runs.c.id == bindparam("run"), runs.c.part == bindparam("present"), runs.c.state == RunState.WAITING)
    .values(state=RunState.ACTIVE, due_at=None)
)


class Engine:
    """Runs the parts. One per process: the engine below is a singleton."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lease = Lease(services)
        self._executor_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._tick = threading.Event()
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._run_ticker, name="uici-ticker", daemon=True)
        self._settings = services.site().platform.runs
        self._active: dict[str, str | None] = {}
        """The parts at work, each with its run's environment."""
        self._seen_at: datetime | None = None
        self._active_lock = threading.Lock()
        self._failure: str | None = None

    def start(self) -> None:
        """Take the lease, recover what a dead process left, and begin. Raises Problem when the lease is taken."""
        self._lease.take()
        settings = self._services.site().platform.runs
        _quieten()
        DBOS(
            config=DBOSConfig(
                name="uici",
                system_database_url=str(self._services.store.url.set(database=str(self._services.store.path))),
                system_database_engine=self._services.store.engine_for_runs(),
                executor_id=self._executor_id,
                application_version=_APPLICATION_VERSION,
                serializer=JsonSerializer(),
                log_level="ERROR",
                max_executor_threads=settings.threads,
                notification_listener_polling_interval_sec=1.0,
            )
        )

        # A plain function: the decorator marks what it wraps, which a bound method does not allow.
        def part(run_id: str, number: int) -> str:
            return self._run_part(run_id, number)

        self._part = DBOS.workflow(name="uici_run_part", max_recovery_attempts=settings.max_recovery_attempts)(part)
        DBOS.launch()
        self._recover()
        self._ticker.start()

    def stop(self, timeout: float) -> None:
        """Start nothing new, give running parts `timeout` seconds, then leave; what is left is recovered later."""
        self._stopping.set()
        self._tick.set()
        self._ticker.join(timeout)
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=max(1, int(timeout)))
        self._lease.drop()

    def wake(self) -> None:
        """A run may be due."""
        self._tick.set()

    def problem(self) -> str | None:
        """Why nothing is being started, or None while all is well."""
        if self._failure is None and not self._ticker.is_alive() and not self._stopping.is_set():
            return "the ticker has ended"
        return self._failure

    def active(self) -> int:
        """How many parts are at work now."""
        with self._active_lock:
            return len(self._active)

    # --- one part -------------------------------------------------------------------------------------------

    def _run_part(self, run_id: str, part: int) -> str:
        """Take a run through one part, from where its row says. The row is its journal: the engine below knows only
        that the part was begun and has not ended, and calls this again after a crash.
        """
        try:
            data = self._taken_up(run_id, part)
            while data is not None and data.wait is None and data.stage is not Stage.ENDED:
                data = self._advance(data)
            return "stale" if data is None else data.stage.value
        finally:
            with self._active_lock:
                self._active.pop(f"{run_id}:{part}", None)
            self._tick.set()

    def _taken_up(self, run_id: str, part: int) -> RunData | None:
        """The run as its row says; None when this is not its present part."""
        with self._services.store.read() as connection:
            row = connection.execute(_RUN, {"run": run_id}).one_or_none()
        if row is None or row.part != part or row.state == RunState.ENDED:
            return None
        return RunData.model_validate(row.data or _beginning(row))

    def _advance(self, data: RunData) -> RunData | None:
        """The run some stages further; None when somebody else has taken it further. A database that cannot be
        written ends the part: the sweep finds the run when it is back.
        """
        try:
            return advance(self._services, data)
        except StalePartError:
            return None
        except StageFailedError as failed:  # a defect of ours must end in people's hands, not in a stuck run
            stage, cause = failed.data.stage, failed.__cause__
            log.error("stage_failed", run_id=data.run_id, stage=stage.value, exc_info=cause)
            if stage is Stage.CLOSE:
                raise
            why = f"internal_error: {type(cause).__name__} in stage {stage.value}: {cause}"
            return failed.data.ending(AlertOutcome.ESCALATED, why)

    # --- the ticker -----------------------------------------------------------------------------------------

    def _run_ticker(self) -> None:
        sweep = self._services.site().platform.runs.sweep_seconds
        swept = forget_at = 0.0
        while not self._stopping.is_set():
            self._tick.clear()
            try:
                self._notice_clock()
                pause = self._start_due()
                if time.monotonic() - swept >= sweep:
                    self._rescue_lost()
                    swept = time.monotonic()
                if time.monotonic() >= forget_at:
                    full = forget_ended_parts(self._settings.journal_seconds)
                    forget_at = time.monotonic() + (sweep if full else _FORGET_SECONDS)
                self._failure = None
            except Exception as error:  # the ticker must outlive whatever it is: /ready says so until it is over
                self._failure = f"due runs cannot be started: {getattr(error, 'orig', error)}"
                log.error("ticker_failed", error=self._failure, exc_info=not isinstance(error, SQLAlchemyError))
                pause = sweep
            self._tick.wait(min(pause, sweep))

    def _notice_clock(self) -> None:
        """When the clock was set back, every time in the state is too late by as much: let all that waits look again,
        let no target rest until the clock has caught up, and keep a question open as long as was promised.
        """
        now, before = self._services.clock.now(), self._seen_at
        if before is None or before - now > _CLOCK_JITTER:
            with self._services.store.write() as connection:
                connection.execute(runs.update().where(runs.c.ended_at > now).values(ended_at=now))
                connection.execute(runs.update().where(runs.c.acted_at > now).values(acted_at=now))
                if before is not None:
                    log.warning("clock_set_back", seconds=(before - now).total_seconds())
                    late = (runs.c.state == RunState.WAITING) & (runs.c.due_at > now)
                    connection.execute(runs.update().where(late).values(due_at=now))
                    self._move_questions(connection, before - now)
        self._seen_at = now

    @staticmethod
    def _move_questions(connection: Connection, back: timedelta) -> None:
        open_ = select(approvals.c.id, approvals.c.expires_at).where(approvals.c.state == "pending")
        for row in connection.execute(open_).all():
            moved = approvals.update().where(approvals.c.id == row.id)
            connection.execute(moved.values(expires_at=row.expires_at - back))

    def _start_due(self) -> float:
        """Start what is due; returns the seconds until the next run is."""
        now = self._services.clock.now()
        chosen: dict[str, tuple[str, int]] = {}
        with self._services.store.read() as connection:
            after = connection.execute(_NEXT_DUE, {"now": now}).scalar_one()
            # Also where the site has no target, or not even the environment any more: those runs end, and tell people.
            wanted = connection.execute(_WANTED, {"now": now}).scalars().all()
            for place, room in self._room(wanted).items():
                if room == 0:
                    continue
                # Some of them are being started already.
                here = {"now": now, "place": place, "most": self._settings.threads + room}
                for row in connection.execute(_DUE, here):
                    if room > 0 and self._reserve(f"{row.id}:{row.part}", place):
                        chosen[f"{row.id}:{row.part}"] = (row.id, row.part)
                        room -= 1
        try:
            if chosen:
                # One transaction for all. A wake-up from now on is one that the part's looking may have missed.
                with self._services.store.write() as connection:
                    connection.execute(_TAKE_UP, [{"run": run_id, "present": part} for run_id, part in chosen.values()])
            while chosen:
                key, (run_id, part) = next(iter(chosen.items()))
                with SetWorkflowID(key):
                    DBOS.start_workflow(self._part, run_id, part)
                del chosen[key]
        finally:
            with self._active_lock:
                for key in chosen:
                    self._active.pop(key, None)
        return 1.0 if after is None else max(0.0, (after - now).total_seconds())

    def _room(self, wanted: Iterable[str | None]) -> dict[str | None, int]:
        """How many parts each environment may start now.

        Half of the threads are kept for the environments in equal shares, so that one whose platform hangs cannot
        keep the others waiting. Runs whose environment is not known yet share as one.
        """
        site = self._services.site()
        places: list[str | None] = [None, *{place for target in site.targets.values() for place in target.bindings}]
        with self._active_lock:
            busy = Counter(self._active.values())
        places += dict.fromkeys(place for place in (*busy, *wanted) if place not in places)
        share = max(1, self._settings.threads // (2 * len(places)))
        free = self._settings.threads - busy.total()
        kept = {place: max(0, share - busy[place]) for place in places}
        room = {}
        # Who works least comes first; what it is given, the others are not.
        for place in sorted(places, key=lambda place: busy[place]):
            others = sum(kept.values()) - kept[place]
            room[place] = max(0, free - others)
        return room

    def _reserve(self, key: str, place: str | None) -> bool:
        """Take a thread for a part, unless it has one or none is free."""
        with self._active_lock:
            if key in self._active or len(self._active) >= self._settings.threads:
                return False
            self._active[key] = place
        return True

    def _recover(self) -> None:
        """Everything that is pending under another executor's name belongs to a dead process: we hold the lease."""
        known = DBOS.list_workflows(status=["PENDING", "ENQUEUED"], load_input=False, load_output=False)
        left = [item for item in known if item.executor_id != self._executor_id]
        if not left:
            return
        log.info("recovering_runs", workflows=len(left))
        with self._active_lock:
            # The ticker must not start what the recovery, or one before that was itself killed, is about to start.
            self._active.update(dict.fromkeys(item.workflow_id for item in left))
        dead = {str(item.executor_id) for item in left if item.status == "PENDING" and item.executor_id}
        DBOS._recover_pending_workflows(sorted(dead))

    def _rescue_lost(self) -> None:
        """Take up again, from its row, a run whose present part has ended without taking it further.

        That happens when the state could not be written for a while. What such a part had sent is in `attempts`, so
        going on from the row is safe; a run that needs it again and again goes to people.
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
                .limit(_DUE_AT_ONCE)
            ).all()
        for row in rows:
            key = f"{row.id}:{row.part}"
            with self._active_lock:
                at_work = key in self._active
            if row.state == RunState.WAITING and not at_work:
                continue  # it waits for a thread
            status = DBOS.get_workflow_status(key)
            if status is None and not at_work:
                self._put_back(row.id, row.part)
            if status is None or status.status in ("PENDING", "ENQUEUED", "DELAYED"):
                continue
            # Ended just now: the row may only have been read before that. Later than now, by a clock that was set
            # back since, says nothing of that; the row then is as old as the jump at least.
            if 0 <= now.timestamp() - (status.updated_at or 0) / 1000 < _LOST_AFTER.total_seconds():
                continue
            log.error("run_lost", run_id=row.id, part=row.part, workflow=status.status)
            with self._active_lock:
                self._active.pop(key, None)
            self._take_up_again(row.id, row.part, status.status)

    def _put_back(self, run_id: str, part: int) -> None:
        """A run that was taken up, but whose part nobody began: it waits again."""
        with self._services.store.write() as connection:
            connection.execute(
                runs.update()
                .where(runs.c.id == run_id, runs.c.part == part, runs.c.state == RunState.ACTIVE)
                .values(state=RunState.WAITING, due_at=self._services.clock.now())
            )
        self._tick.set()

    def _take_up_again(self, run_id: str, part: int, status: str) -> None:
        limit = self._services.site().platform.runs.max_recovery_attempts
        with self._services.store.write() as connection:
            here = (runs.c.id == run_id) & (runs.c.part == part) & (runs.c.state != RunState.ENDED)
            row = connection.execute(select(runs).where(here)).one_or_none()
            if row is None:
                return
            data = RunData.model_validate(row.data or _beginning(row))
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
        self._tick.set()


def _beginning(row: Row[Any]) -> JsonObject:
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


def _quieten() -> None:
    """The engine logs hundreds of lines while its database is away; ours says it once."""
    for name in ("dbos", "dbos.dbos"):
        logging.getLogger(name).setLevel(logging.ERROR)
