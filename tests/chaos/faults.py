"""Faults, drawn from a seed: which, when, on whom and for how long."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.chaos.history import Freeze
from tests.chaos.replicas import Fleet
from tests.real.postgres import Postgres

SLOW_COMMIT_MICROSECONDS = 100_000
"""PostgreSQL waits so long before it flushes a commit: a slow disk, as the longest `commit_delay` makes it."""
_PATIENCE_SECONDS = 3.0
"""How long a freeze waits for a change to be under way."""
_ANSWER_SECONDS = 30.0
_LONGEST_FREEZE_SECONDS = 6.0
"""Longer than the latest sending; what begins while all is frozen is refused, and then is no run to look at."""
_KINDS = {
    "replica killed": 5,
    "replica stopped": 4,
    "replica restarted": 2,
    "network cut": 3,
    "network hangs": 2,
    "network slow": 1,
    "database killed": 2,
    "database restarted": 1,
    "database paused": 2,
    "connections ended": 2,
    "disk slow": 1,
    "clock jumps": 2,
    "frozen": 6,
}
"""Kind -> how often, beside the others."""


@dataclass(frozen=True)
class Fault:
    """One of a plan."""

    after: float
    """Seconds after the one before it."""
    kind: str
    replica: int
    seconds: float


def plan(seed: int, replicas: int, takeover_seconds: float, more: dict[str, int] | None = None) -> Iterator[Fault]:
    """Faults without an end; the same for the same seed."""
    drawn = random.Random(f"faults:{seed}")
    kinds = {**_KINDS, **(more or {})}
    while True:
        yield Fault(
            after=drawn.uniform(0.5, 3.0),
            kind=drawn.choices(list(kinds), list(kinds.values()))[0],
            replica=drawn.randrange(replicas),
            seconds=drawn.choice((0.3, 1.0, takeover_seconds * 0.7, takeover_seconds * 1.5, takeover_seconds * 2.5)),
        )


class Injector:
    """Does what a plan says. Faults of different kinds may fall together; nobody suffers two at once."""

    def __init__(
        self,
        fleet: Fleet,
        database: Postgres,
        headers: dict[str, str],
        more: dict[str, Callable[[float], None]],
        busy: Callable[[], bool],
    ) -> None:
        """`more` are the faults of the platform, by kind; `busy` tells whether it is changing something."""
        self.counts: Counter[str] = Counter()
        self.freezes: list[Freeze] = []
        self.failures: list[str] = []
        """Faults that could not be made: a defect of the suite, or of the machine."""
        self._fleet = fleet
        self._database = database
        self._headers = headers
        self._turns = {f"replica {index}": threading.Lock() for index in range(len(fleet.replicas))}
        self._turns |= {name: threading.Lock() for name in ("database", "freeze", "platform")}
        self._more = more
        self._busy = busy
        self._threads: list[threading.Thread] = []
        self._offset = 86_400

    def begin(self, fault: Fault) -> None:
        """Make it, beside what is under way."""
        thread = threading.Thread(target=self._make, args=(fault,), name=f"chaos {fault.kind}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def finish(self) -> None:
        """Wait for the end of all faults."""
        for thread in self._threads:
            thread.join()

    def _make(self, fault: Fault) -> None:
        who, _, what = fault.kind.partition(" ")
        try:
            if who in ("replica", "network", "clock"):
                self._on_replica(who, what, fault)
            elif who in ("database", "connections", "disk"):
                self._on_database(fault)
            elif fault.kind == "frozen":
                with self._turn("freeze") as mine:
                    if mine:
                        self._freeze(fault)
            else:
                with self._turn("platform") as mine:
                    if mine:
                        self._more[fault.kind](fault.seconds)
                        self.counts[fault.kind] += 1
        except Exception as error:  # told with the round's result, which then is none
            self.failures.append(f"{fault.kind}: {type(error).__name__}: {error}")

    @contextmanager
    def _turn(self, name: str) -> Iterator[bool]:
        """Whether nobody else has this turn; one who comes second does nothing."""
        mine = self._turns[name].acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._turns[name].release()

    def _on_replica(self, who: str, what: str, fault: Fault) -> None:
        index = fault.replica
        replica = self._fleet.replicas[index]
        with self._turn(f"replica {index}") as mine:
            if not mine or not replica.runs():
                return
            self.counts[fault.kind] += 1
            if who == "network":
                replica.network.suffer(what)
                time.sleep(fault.seconds)
                replica.network.heal()
            elif who == "clock":
                self._offset += 1800
                if not replica.set_clock(f"+{self._offset}s"):
                    self.counts[fault.kind] -= 1
            elif what == "killed":
                self._fleet.kill(index, min(fault.seconds, 3.0))
            elif what == "stopped":
                self._fleet.freeze_process(index, fault.seconds)
            elif self._fleet.ready(replica):  # one that still starts is ended by the signal itself
                status = self._fleet.restart(index)
                if status != 0:
                    self.failures.append(f"replica {index} ended with {status} on SIGTERM")
            else:
                self.counts[fault.kind] -= 1

    def _on_database(self, fault: Fault) -> None:
        with self._turn("database") as mine:
            if not mine:
                return
            self.counts[fault.kind] += 1
            if fault.kind == "database paused":
                self._database.pause()
                time.sleep(fault.seconds)
                self._database.resume()
            elif fault.kind == "connections ended":
                self._database.cut_connections()
            elif fault.kind == "disk slow":
                self._slow_disk(SLOW_COMMIT_MICROSECONDS)
                time.sleep(fault.seconds)
                self._slow_disk(0)
            else:
                self._database.kill() if fault.kind == "database killed" else self._database.stop()
                time.sleep(min(fault.seconds, 2.0))
                self._database.start()

    def _slow_disk(self, microseconds: int) -> None:
        with self._database.connect("postgres") as connection:
            connection.execute("ALTER SYSTEM SET commit_siblings = 0")
            connection.execute(f"ALTER SYSTEM SET commit_delay = {microseconds}".encode())
            connection.execute("SELECT pg_reload_conf()")

    def _freeze(self, fault: Fault) -> None:
        patience = time.monotonic() + _PATIENCE_SECONDS
        while not self._busy() and time.monotonic() < patience:
            time.sleep(0.02)
        asked, index = time.monotonic(), fault.replica
        # Unanswered, it may be in force or not; asked once more, it is.
        while (answered := self._ask(index, frozen=True)) is None and time.monotonic() - asked < _ANSWER_SECONDS:
            index = (index + 1) % len(self._fleet.replicas)
        self.counts[fault.kind] += answered is not None
        time.sleep(min(fault.seconds, _LONGEST_FREEZE_SECONDS))
        lifted = time.monotonic()
        self.lift()
        if answered is not None:
            self.freezes.append(Freeze(asked, answered, lifted))

    def lift(self) -> None:
        """End a freeze, however long that takes."""
        index, deadline = 0, time.monotonic() + 120
        while self._ask(index, frozen=False) is None:
            index = (index + 1) % len(self._fleet.replicas)
            if time.monotonic() > deadline:
                raise TimeoutError("no replica lifts the freeze")
            time.sleep(0.2)

    def _ask(self, index: int, *, frozen: bool) -> float | None:
        """When it was answered; None where it was not, and nobody knows whether it is in force."""
        url = f"{self._fleet.replicas[index].url}/api/v1/freeze"
        try:
            answer = httpx.post(
                url,
                json={"frozen": frozen, "reason": "chaos"},
                headers=self._headers,
                timeout=_ANSWER_SECONDS,
                trust_env=False,
            )
        except httpx.HTTPError:
            return None
        return time.monotonic() if answer.status_code == httpx.codes.OK else None
