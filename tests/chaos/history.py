"""What was seen of a round of chaos, from outside: by the platform, by the senders, in the state's tables.

Moments are seconds of the machine's monotonic clock, which all processes of a machine share and which no fault moves.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PULSE_SECONDS = 0.05


@dataclass(frozen=True)
class Call:
    """One mutating call as the platform saw it."""

    target: str
    name: str
    begin: float
    end: float | None
    """None: the platform did not come to its end."""
    did: bool | None
    """Whether it changed anything; None where the platform cannot tell."""
    key: str | None
    """Run and position, as `<run>:<position>`; None on a platform whose calls have no room for it."""


@dataclass(frozen=True)
class Accepted:
    """A notification that was answered with 2xx."""

    at: float
    replica: int
    fingerprint: str
    starts_at: str


@dataclass(frozen=True)
class Freeze:
    """From the question for it, and its 200, until its lifting was asked for."""

    asked: float
    answered: float
    lifted: float


@dataclass(frozen=True)
class Absence:
    """A worker that was killed, or stopped, so that it could not work."""

    worker: str
    begin: float
    end: float | None
    """None: it never came back."""


@dataclass(frozen=True)
class Pause:
    """In all that time the suite itself did not get the processor, or the disk, that it wanted."""

    begin: float
    end: float


@dataclass(frozen=True)
class Held:
    """A run that held a slot, or was at work, at one look into the state."""

    at: float
    run: str
    state: str
    worker: str | None
    """Whose it is: as the engine says where a process has its part, else as its row says."""
    slot: bool


@dataclass(frozen=True)
class AlertRow:
    """An alert as the state has it at the end."""

    fingerprint: str
    starts_at: str
    incident: str | None
    outcome: str | None


@dataclass(frozen=True)
class IncidentRow:
    """An incident at the end, and what the API answers about it."""

    id: str
    state: str
    outcome: str | None
    shown: str | None
    """The outcome that the API shows; None where it shows none."""


@dataclass(frozen=True)
class RunRow:
    """A run at the end."""

    id: str
    incident: str | None
    state: str
    outcome: str | None
    endings: int
    """How many events say that it ended."""


@dataclass(frozen=True)
class Attempt:
    """A call that was announced."""

    run: str
    position: str
    number: int
    target: str
    outcome: str | None

    @property
    def key(self) -> str:
        return f"{self.run}:{self.position}"


@dataclass
class History:
    """All of it."""

    calls: list[Call] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)
    looks: dict[str, list[float]] = field(default_factory=dict)
    """When each worker had looked which of the others are alive."""
    pauses: list[Pause] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    alerts: list[AlertRow] = field(default_factory=list)
    incidents: list[IncidentRow] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    slots_held: list[str] = field(default_factory=list)
    """Targets whose slot is taken at the end."""
    starts: dict[str, int] = field(default_factory=dict)
    """How often each service itself says that it was started again; empty where services do not say it."""

    def write(self, file: Path) -> None:
        """Keep it; in one step, so that a file that is there is whole."""
        beside = file.with_suffix(".part")
        beside.write_text(json.dumps(dataclasses.asdict(self)))
        beside.replace(file)


class Stream:
    """A file of JSON lines, each on disk before `add` returns."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a")
        self._lock = threading.Lock()

    def add(self, **line: Any) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def calls_of(file: Path) -> list[Call]:
    """The platform's stream as calls, in the order of their beginnings."""
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    ends = {line["id"]: line for line in lines if "did" in line}
    return [_call(line, ends.get(line["id"])) for line in lines if "did" not in line]


def _call(begun: dict[str, Any], ended: dict[str, Any] | None) -> Call:
    return Call(
        target=begun["target"],
        name=begun["name"],
        key=begun["key"],
        begin=begun["at"],
        end=ended["at"] if ended else None,
        did=ended["did"] if ended else None,
    )


def worker_of(id_: str) -> str:
    """The process behind a worker's id, as `<host>-<pid>`."""
    return id_.rpartition("-")[0]


def looks_of(file: Path) -> dict[str, list[float]]:
    """When each worker had looked at the others, from the file in which all of them write that down."""
    found: dict[str, list[float]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        worker, at = line.split()
        found.setdefault(worker, []).append(float(at))
    return found


class Pulse:
    """Wants to do something every moment, and writes down when it could not."""

    def __init__(self) -> None:
        self.pauses: list[Pause] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="chaos-pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        last = time.monotonic()
        while not self._stopping.wait(_PULSE_SECONDS):
            now = time.monotonic()
            if now - last > 2 * _PULSE_SECONDS:
                self.pauses.append(Pause(last, now))
            last = now


def longest(values: Iterable[float]) -> float:
    """The largest, 0 of none."""
    return max(values, default=0.0)
