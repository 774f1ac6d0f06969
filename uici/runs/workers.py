"""The processes that work on one state: each shows that it is alive, and takes over what the dead leave.

A worker beats: it counts up its row. Whoever sees a row stand still for `runs.takeover_seconds` deletes it, and what
was under way there is recovered. Nobody compares clocks: the watcher measures the standstill by its own, and counts
only time in which it could look. The worker itself stops sending well before that, by a clock that goes on while it is
stopped; and each of its writes for a run asks whether the run still belongs to it. So a worker that was only stopped,
or cut off, comes back to find that it may do nothing more, and ends.

An advisory lock on a connection would tell less: a failover of the database drops it while its holder lives, and a
stopped process keeps it.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import structlog
from sqlalchemy import Text, bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from uici.model.base import JsonObject
from uici.model.identity import SelfIdentity, Selves
from uici.ports import Clock
from uici.runs.data import RunState
from uici.store.clock import ServiceClock, elapsed
from uici.store.database import Store
from uici.store.schema import meta, runs
from uici.store.times import utc_text
from uici.store.workers import workers

_log = structlog.get_logger(__name__)

_BEATS = 5
"""How often a worker beats in the time after which it counts as dead."""
_OWN_SHARE = 0.6
"""For which share of that time after a beat it believes itself alive. The rest is for what was about to be sent."""
_LATEST_SENDING = 2.0

_BEAT = (
    workers.update()
    .where(workers.c.id == bindparam("worker"))
    .values(beats=workers.c.beats + 1, seen_at=bindparam("now"), draining=bindparam("ends"))
)
_LATEST_SHOWN = bindparam("shown", type_=Text)
LATEST_TIME = meta.c.name == "latest_time"
"""The latest time that any process has gone by, of those that share the state."""
_ADVANCE = meta.update().where(LATEST_TIME, meta.c.value < _LATEST_SHOWN).values(value=_LATEST_SHOWN)
_FIRST = select(workers.c.id).order_by(workers.c.started_at, workers.c.id).limit(1)
_SEEN = select(workers.c.id, workers.c.beats)
_DECLARE_DEAD = workers.delete().where(workers.c.id == bindparam("worker"), workers.c.beats == bindparam("stood_at"))
_OTHERS = select(workers.c.identity).where(workers.c.id != bindparam("worker"), workers.c.identity.is_not(None))
_LEAVE = workers.delete().where(workers.c.id == bindparam("worker"))


class Workers:
    """The processes at work on the state, and the present one among them."""

    def __init__(
        self, store: Store, clock: Clock, takeover_seconds: float, selves: Selves, on_lost: Callable[[], None]
    ) -> None:
        """`on_lost` is called when others have declared this process dead: it must end."""
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._store = store
        self._clock = clock
        self._takeover = takeover_seconds
        self._selves = selves
        self._on_lost = on_lost
        self._alive_until = float("inf")
        self.latest_sending = _LATEST_SENDING if store.shared else 0.0
        """How many seconds after its announcement a call of another process may still be sent."""
        self._standstill: dict[str, tuple[int, float]] = {}
        self._looked_at: float | None = None
        self._draining = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="uici-beat", daemon=True)

    def join(self) -> None:
        """Be one of them. Where the state is one process's alone, whoever is still in the list is dead."""
        now = self._clock.now()
        row = {"id": self.id, "host": socket.gethostname(), "pid": os.getpid(), "version": version("uici")}
        row["identity"] = {"processes": _processes(), "is": self._selves.own.model_dump(mode="json")}
        asked = elapsed()
        with self._store.write() as connection:
            if not self._store.shared:
                connection.execute(workers.delete())
            connection.execute(workers.insert().values(**row, started_at=now, seen_at=now, beats=0, draining=False))
        if self._store.shared:
            self._alive_until = asked + self._takeover * _OWN_SHARE
            self._look_at_others()
            self._thread.start()

    def drain(self) -> None:
        """Tell the others, with the next beat, that this one takes up nothing new."""
        self._draining = True

    def leave(self) -> None:
        """Send nothing more, and let the others have what is left. Raises SQLAlchemyError."""
        self._alive_until = 0.0
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._takeover)
        with self._store.write_one() as connection:
            connection.execute(_LEAVE, {"worker": self.id})

    def is_first(self) -> bool:
        """Whether this is the one that has been at work for longest, of those that are in the list.

        For what one of them is enough for; for a while two may think so, or none.
        """
        with self._store.read() as connection:
            return connection.execute(_FIRST).scalar() == self.id

    def may_send(self, announced: float) -> bool:
        """Whether a call that was announced at that moment of `elapsed` may still be sent."""
        now = elapsed()
        return not self._store.shared or (now < self._alive_until and now - announced <= self.latest_sending)

    def alive(self) -> set[str]:
        """The ids of those at work, after those that beat no more are declared dead. Raises SQLAlchemyError."""
        with self._store.read() as connection:
            beats = {row.id: int(row.beats) for row in connection.execute(_SEEN)}
        if not self._store.shared:
            return set(beats)
        now = time.monotonic()
        # After a pause, of the database or of ours, nobody could have been seen beating: it does not count.
        counted = 0.0 if self._looked_at is None else min(now - self._looked_at, self._takeover / _BEATS)
        self._looked_at = now
        standstill = {}
        for id_, count in beats.items():
            before, seconds = self._standstill.get(id_, (count, 0.0))
            standstill[id_] = (count, seconds + counted if before == count else 0.0)
        self._standstill = standstill
        for id_, (count, seconds) in standstill.items():
            if seconds > self._takeover and id_ != self.id and self._declare_dead(id_, count):
                del beats[id_]
        return set(beats)

    def _declare_dead(self, id_: str, stood_at: int) -> bool:
        with self._store.write_one() as connection:
            dead = connection.execute(_DECLARE_DEAD, {"worker": id_, "stood_at": stood_at}).rowcount == 1
        if dead:
            _log.warning("worker_declared_dead", worker=id_, seconds=self._takeover)
        return dead

    def _work(self) -> None:
        while not self._stopping.wait(self._takeover / _BEATS):
            try:
                self._beat()
            except SQLAlchemyError as error:
                # Nothing is sent any more when this goes on; others cannot reach the database either, or take over.
                _log.error("worker_cannot_beat", error=str(getattr(error, "orig", error)))

    def _beat(self) -> None:
        asked = elapsed()
        if isinstance(self._clock, ServiceClock):
            self._clock.follow(self._store)
        now = self._clock.now()
        with self._store.write_one() as connection:
            mine = connection.execute(_BEAT, {"worker": self.id, "now": now, "ends": self._draining}).rowcount == 1
        with self._store.write_one() as connection:
            connection.execute(_ADVANCE, {"shown": utc_text(now)})
        self._look_at_others()
        if mine:
            self._alive_until = asked + self._takeover * _OWN_SHARE
        elif not self._stopping.is_set():
            self._alive_until = 0.0
            _log.error("declared_dead", worker=self.id, hint="this process was stopped or cut off; another took over")
            self._on_lost()

    def _look_at_others(self) -> None:
        with self._store.read() as connection:
            found = connection.execute(_OTHERS, {"worker": self.id}).scalars().all()
        self._selves.learn_others(_known(identity) for identity in found)


def _known(registered: JsonObject) -> SelfIdentity:
    """What another process is. Process ids say nothing where processes are numbered by themselves."""
    other = SelfIdentity.model_validate(registered["is"])
    if registered["processes"] == _processes():
        return other
    return other.model_copy(update={"pids": frozenset(), "ancestors": frozenset()})


def _processes() -> str:
    """Which numbering of processes this one belongs to: of this boot of this machine, and of this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def list_workers(store: Store) -> list[JsonObject]:
    """The processes at work, oldest first, each with the runs that it holds."""
    with store.read() as connection:
        found = connection.execute(select(workers).order_by(workers.c.started_at, workers.c.id)).mappings().all()
        held = connection.execute(
            select(runs.c.worker, runs.c.id, runs.c.environment, runs.c.target, runs.c.stage)
            .where(runs.c.state == RunState.ACTIVE, runs.c.worker.is_not(None))
            .order_by(runs.c.id)
        ).all()
    return [
        {
            "id": row["id"],
            "host": row["host"],
            "pid": row["pid"],
            "version": row["version"],
            "started_at": row["started_at"].isoformat(),
            "seen_at": row["seen_at"].isoformat() if store.shared else None,
            "draining": row["draining"],
            "runs": [
                {"id": run.id, "environment": run.environment, "target": run.target, "stage": run.stage}
                for run in held
                if run.worker == row["id"]
            ],
        }
        for row in found
    ]
