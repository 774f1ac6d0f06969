"""The durable engine: DBOS Transact runs the parts of runs, and a ticker starts those that are due.

A run that waits (for people, for a slot, for its next look) is a row with a due time, not a sleeping
workflow; its next part is a new workflow whose id is `<run>:<part>`, so starting it twice starts it once.
See docs/decisions/0001 and 0002.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from uici.model.alert import AlertOutcome
from uici.runs.data import RunData, RunState, Stage
from uici.runs.due import due_runs
from uici.runs.journal import JsonSerializer, forget_ended_parts
from uici.runs.lease import Lease
from uici.runs.records import StalePartError
from uici.runs.recovery import Recovery, beginning
from uici.runs.services import Services
from uici.runs.setback import SetbackWatch
from uici.runs.stages import StageFailedError, advance
from uici.store.database import close_pool
from uici.store.schema import runs

log = structlog.get_logger(__name__)

_APPLICATION_VERSION = "uici-1"
"""Fixed: its default hashes the sources, and a new build would strand the runs of the old one."""
_FORGET_SECONDS = 30.0
_FEW = 2
_YOUNG_SECONDS = 1.0
"""What a part has to compute takes less: who is at work for longer waits for a platform, which costs nothing."""

_RUN = select(runs).where(runs.c.id == bindparam("run"))
_NEXT_DUE = select(func.min(runs.c.due_at)).where(runs.c.state == RunState.WAITING, runs.c.due_at > bindparam("now"))
_WANTED = (
    select(runs.c.environment).where(runs.c.state == RunState.WAITING, runs.c.due_at <= bindparam("now")).distinct()
)
_TAKE_UP = (
    runs.update()
    .where(runs.c.id.in_(bindparam("chosen", expanding=True)), runs.c.state == RunState.WAITING)
    .values(state=RunState.ACTIVE, due_at=None, worker=bindparam("me"))
    .returning(runs.c.id, runs.c.part)
)
_TAKE_OVER = (
    runs.update()
    .where(runs.c.id == bindparam("run"), runs.c.part == bindparam("present"), runs.c.state == RunState.ACTIVE)
    .values(worker=bindparam("me"))
)


class _Part(NamedTuple):
    """A part at work."""

    environment: str | None
    since: float


class Engine:
    """Runs the parts. One per process: the engine below is a singleton."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._workers = services.workers
        self._lease = Lease(services.store)
        self._tick = threading.Event()
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._run_ticker, name="uici-ticker", daemon=True)
        self._settings = services.site().platform.runs
        self._wanted_at = float("-inf")
        self._wanted_then: Sequence[str | None] = ()
        self._active: dict[str, _Part] = {}
        self._pressed: Callable[[], bool] = lambda: False
        self._active_lock = threading.Lock()
        self._setback = SetbackWatch(services.store, services.clock)
        self._recovery = Recovery(services, self._at_work, self._forget)
        self._failure: str | None = None
        self._draining = False

    def start(self) -> None:
        """Take the lease, recover what a dead process left, and begin. Raises Problem when the lease is taken."""
        self._lease.take()
        self._workers.join()
        settings = self._services.site().platform.runs
        _quieten()
        self._pool = self._services.store.engine_for_runs()
        DBOS(
            config=DBOSConfig(
                name="uici",
                system_database_url=self._pool.url.render_as_string(hide_password=False),
                system_database_engine=self._pool,
                executor_id=self._workers.id,
                application_version=_APPLICATION_VERSION,
                serializer=JsonSerializer(),
                log_level="ERROR",
                max_executor_threads=settings.threads,
                notification_listener_polling_interval_sec=1.0,
                use_listen_notify=False,
            )
        )

        # A plain function: the decorator marks what it wraps, which a bound method does not allow.
        def part(run_id: str, number: int) -> str:
            return self._run_part(run_id, number)

        self._part = DBOS.workflow(name="uici_run_part", max_recovery_attempts=settings.max_recovery_attempts)(part)
        DBOS.launch()
        left = self._recovery.left_by_the_dead()
        with self._active_lock:
            # They will have threads.
            self._active.update(dict.fromkeys(left, _Part(None, time.monotonic())))
        self._ticker.start()

    def drain(self) -> None:
        """Take up no run any more, and be unready; what is under way goes on."""
        self._draining = True
        self._workers.drain()

    def stop(self, timeout: float) -> None:
        """Start nothing new, give running parts `timeout` seconds, then leave; what is left is recovered later."""
        self._stopping.set()
        self._tick.set()
        self._ticker.join(timeout)
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=max(1, int(timeout)))
        try:
            self._workers.leave()
        except SQLAlchemyError as error:  # then the others find out by its silence
            log.error("worker_cannot_leave", error=str(getattr(error, "orig", error)))
        close_pool(self._pool)
        self._lease.drop()

    def wake(self) -> None:
        """A run may be due."""
        self._tick.set()

    def give_way(self, pressed: Callable[[], bool]) -> None:
        """Start few parts at once while this process is `pressed` by requests: each part at work takes the interpreter
        from whoever answers.
        """
        self._pressed = pressed

    def problem(self) -> str | None:
        """Why nothing is being started, or None while all is well."""
        if self._draining:
            return "draining: this process is about to end"
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
            self._forget(f"{run_id}:{part}")
            self._tick.set()

    def _taken_up(self, run_id: str, part: int) -> RunData | None:
        """The run as its row says, from now on this worker's; None when this is not its present part."""
        with self._services.store.read() as connection:
            row = connection.execute(_RUN, {"run": run_id}).one_or_none()
        if row is None or row.part != part or row.state != RunState.ACTIVE:
            return None
        if row.worker != self._workers.id:
            with self._services.store.write() as connection:
                mine = {"run": run_id, "present": part, "me": self._workers.id}
                if connection.execute(_TAKE_OVER, mine).rowcount == 0:
                    return None
        return RunData.model_validate(row.data or beginning(row))

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
                self._setback.look()
                pause = sweep if self._draining else self._start_due()
                if time.monotonic() - swept >= sweep:
                    if self._services.store.shared:
                        self._recovery.left_by_the_dead()
                    self._recovery.rescue_lost()
                    self._services.brakes.release(self._services.events, self._services.site())
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

    def _start_due(self) -> float:
        """Start what is due; returns the seconds until the next run is."""
        now = self._services.clock.now()
        chosen: dict[str, tuple[str, int]] = {}
        most = self._most()
        with self._services.store.read() as connection:
            after = connection.execute(_NEXT_DUE, {"now": now}).scalar_one()
            # Also where the site has no target, or not even the environment any more: those runs end, and tell people.
            for place, room in self._room(self._wanted(connection, now)).items():
                room = min(room, most - len(chosen))
                if room <= 0:
                    continue
                # Some of them are being started already.
                for row in due_runs(connection, now, place, self._settings.threads + room):
                    if room > 0 and self._reserve(f"{row.id}:{row.part}", place):
                        chosen[f"{row.id}:{row.part}"] = (row.id, row.part)
                        room -= 1
        try:
            if chosen:
                # One transaction for all. A wake-up from now on is one that the part's looking may have missed.
                wanted_runs = {"chosen": [run_id for run_id, _ in chosen.values()], "me": self._workers.id}
                with self._services.store.write() as connection:
                    taken = {(row.id, row.part) for row in connection.execute(_TAKE_UP, wanted_runs)}
                for run_id, part in taken:
                    with SetWorkflowID(f"{run_id}:{part}"):
                        DBOS.start_workflow(self._part, run_id, part)
                    chosen.pop(f"{run_id}:{part}", None)
        finally:
            for key in chosen:
                self._forget(key)
        return 1.0 if after is None else max(0.0, (after - now).total_seconds())

    def _wanted(self, connection: Connection, now: datetime) -> Sequence[str | None]:
        """The environments in which something is due, those that the site does not know any more among them.

        Asked once a sweep: of a hundred thousand runs that are due it looks at each.
        """
        if time.monotonic() - self._wanted_at >= self._settings.sweep_seconds:
            self._wanted_at = time.monotonic()
            self._wanted_then = connection.execute(_WANTED, {"now": now}).scalars().all()
        return self._wanted_then

    def _most(self) -> int:
        """How many parts may be started now in all. Few of them compute at the same time under pressure, yet a platform
        that hangs does not keep the others waiting.
        """
        if not self._pressed():
            return self._settings.threads
        with self._active_lock:
            young = time.monotonic() - _YOUNG_SECONDS
            return max(0, _FEW - sum([part.since > young for part in self._active.values()]))

    def _room(self, wanted: Iterable[str | None]) -> dict[str | None, int]:
        """How many parts each environment may start now.

        Half of the threads are kept for the environments in equal shares, so that one whose platform hangs cannot
        keep the others waiting. Runs whose environment is not known yet share as one.
        """
        site = self._services.site()
        places: list[str | None] = [None, *{place for target in site.targets.values() for place in target.bindings}]
        with self._active_lock:
            busy = Counter(part.environment for part in self._active.values())
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

    def _at_work(self, key: str) -> bool:
        with self._active_lock:
            return key in self._active

    def _forget(self, key: str) -> None:
        with self._active_lock:
            self._active.pop(key, None)

    def _reserve(self, key: str, place: str | None) -> bool:
        """Take a thread for a part, unless it has one or none is free."""
        with self._active_lock:
            if key in self._active or len(self._active) >= self._settings.threads:
                return False
            self._active[key] = _Part(place, time.monotonic())
        return True


def _quieten() -> None:
    """The engine logs hundreds of lines while its database is away; ours says it once."""
    for name in ("dbos", "dbos.dbos"):
        logging.getLogger(name).setLevel(logging.ERROR)
