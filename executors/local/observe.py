"""What is: the state of a program's instances, from supervisord, the launcher's notes and the kernel."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

import psutil

from executors.local.launch import CANNOT_START, start_ticks
from executors.local.program import Note, ProgramFiles, Specification
from executors.local.supervisor import Supervisor
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind

_CPU_SAMPLE_SECONDS = 0.1
_SUPERVISOR_LOG_TAIL = 262144
_SIGNALLED = re.compile(rb" (?:exited|stopped): (\S+) \(terminated by (SIG[A-Z0-9]+|signal \d+)")
_WORST_FIRST = ("failed", "exited", "missing", "starting", "stopped", "running")


class _State(IntEnum):
    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


class Instance(Frozen):
    """One instance, as it is now."""

    id: str
    state: str
    known: bool
    """supervisord has a program of this name."""
    supervised: bool
    """Its process is supervisord's child; false for one that outlived its supervisord."""
    stopping: bool
    pid: int | None
    ticks: int | None
    """With `pid`, which process: the present one, else the last one that the launcher noted."""
    last_pid: int | None
    exit_code: int | None
    started: float | None
    launch: str | None
    """Digest of the launch with which the process of `identity` was started, as it noted itself."""

    @property
    def identity(self) -> tuple[int, int] | None:
        """Which process this is or last was; None when it was never started or was stopped on purpose."""
        return (self.last_pid, self.ticks) if self.last_pid is not None and self.ticks is not None else None

    @property
    def running(self) -> bool:
        """Whether it has a process."""
        return self.pid is not None

    @property
    def unburied(self) -> bool:
        """Whether its process has ended, and supervisord has not noticed: until then nothing takes its place.

        It takes a moment, and longer for a process whose main thread has ended before its other threads.
        """
        return self.supervised and self.pid is None

    def document(self) -> JsonObject:
        """As get_service_status reports it."""
        return {
            "id": self.id,
            "name": self.id,
            "state": self.state,
            "exit_code": self.exit_code,
            "started_at": _rfc3339(self.started),
            "pid": self.pid,
        }


def observe(
    files: ProgramFiles, supervisor: Supervisor, instances: tuple[str, ...], *, manage: bool
) -> tuple[Instance, ...]:
    """The instances as they are now.

    A supervisord of our own that is not running is a fact, not a failure: nothing is supervised then.
    Raises CallError when it cannot be asked.
    """
    try:
        known = {info["name"]: info for info in supervisor.call("supervisor.getAllProcessInfo")}
    except CallError as error:
        if not manage or error.code != "supervisor_unreachable":
            raise
        known = {}
    return tuple(_instance(name, known.get(name), files.note(name), supervisor.log) for name in instances)


def _instance(name: str, info: Mapping[str, Any] | None, note: Note | None, log: Path) -> Instance:
    pid = int(info["pid"]) if info else 0
    supervised = pid != 0
    ticks = ticks_of(pid) if supervised else None
    if supervised and ticks is None:
        pid = 0  # it ended, and supervisord has not looked yet
    if not pid and note is not None:
        ticks = note.ticks
        # A process whose supervisord was killed: it runs on, and only our note knows it.
        if not supervised and ticks_of(note.pid) == note.ticks:
            pid = note.pid
    code = _State(info["state"]) if info and info["state"] in list(_State) else _State.STOPPED
    state, exit_code = _judge(name, code, info, log)
    if pid:
        state, exit_code = ("starting" if code is _State.STARTING else "running"), None
    elif note is not None and (info is None or not info["start"]):
        state = "exited"  # it was started, was not stopped by us, and is gone: how it ended nobody has seen
    return Instance(
        id=name,
        state=state,
        known=info is not None,
        supervised=supervised,
        stopping=code is _State.STOPPING,
        pid=pid or None,
        ticks=ticks,
        last_pid=pid or (note.pid if note else None),
        exit_code=exit_code,
        started=_started(pid, info),
        launch=note.launch if note is not None and (not pid or note.pid == pid) else None,
    )


def _judge(name: str, code: _State, info: Mapping[str, Any] | None, log: Path) -> tuple[str, int | None]:
    if info is None or (code is _State.STOPPED and not info["start"]):
        return "stopped", None
    if code in (_State.FATAL, _State.BACKOFF, _State.UNKNOWN):
        return "failed", None
    if code in (_State.RUNNING, _State.STOPPING, _State.STARTING):
        return "exited", None  # without a process any more, see the caller
    exit_code: int | None = int(info["exitstatus"])
    if exit_code == -1:
        exit_code = _signal_exit(name, log)
    if code is _State.STOPPED:
        return "stopped", exit_code
    return ("failed" if exit_code in (CANNOT_START - 1, CANNOT_START) else "exited"), exit_code


def _signal_exit(name: str, log: Path) -> int | None:
    """128 + the signal that ended `name` last. supervisord's interface says -1; only its log names the signal."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _SUPERVISOR_LOG_TAIL))
            found = [match[2] for match in _SIGNALLED.finditer(file.read()) if match[1] == name.encode()]
    except OSError:
        return None
    if not found:
        return None
    text = found[-1].decode()
    try:
        return 128 + (int(text.split()[1]) if text.startswith("signal") else signal.Signals[text].value)
    except (KeyError, ValueError):
        return None


def ticks_of(pid: int) -> int | None:
    """When a living process started, in ticks since boot; None when it is gone or a zombie."""
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return None
        return start_ticks(pid)
    except (OSError, psutil.Error, ValueError):
        return None


def _started(pid: int, info: Mapping[str, Any] | None) -> float | None:
    if pid:
        try:
            return psutil.Process(pid).create_time()
        except psutil.Error:
            return None
    return float(info["start"]) if info and info["start"] else None


def _rfc3339(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status_document(specification: Specification | None, instances: tuple[Instance, ...]) -> JsonObject:
    """The result of program.status; no specification means that there is no such program."""
    running = sum(instance.running for instance in instances)
    worst = min(instances, key=lambda instance: _WORST_FIRST.index(instance.state), default=None)
    started = max((instance.started for instance in instances if instance.started is not None), default=None)
    if specification is None:
        state = "missing"
    else:
        state = worst.state if worst is not None else "stopped"
    return {
        "state": state,
        "desired": specification.replicas if specification else 0,
        "running": running,
        "instances": [instance.document() for instance in instances],
        "exit_code": worst.exit_code if worst else None,
        "oom_killed": False,
        "restart_count": 0,
        "started_at": _rfc3339(started),
        "version": specification.version if specification else None,
        "health": "none",
    }


def usage_document(instances: tuple[Instance, ...]) -> JsonObject:
    """The result of program.usage, over the process trees of the running instances."""
    processes = trees([instance.pid for instance in instances if instance.pid is not None])
    first = _cpu_times(processes)
    begun = time.monotonic()
    if processes:
        time.sleep(_CPU_SAMPLE_SECONDS)
    second = _cpu_times(processes)
    elapsed = time.monotonic() - begun
    memory = alive = 0
    for process in processes:
        try:
            memory += process.memory_info().rss
            alive += 1
        except psutil.Error:
            continue  # it ended between two looks
    used = sum(max(0.0, second[pid] - first[pid]) for pid in second.keys() & first.keys())
    return {
        "cpu_percent": round(100.0 * used / elapsed, 1) if processes and elapsed > 0 else 0.0,
        "memory_bytes": memory,
        "memory_limit_bytes": None,
        "memory_percent": None,
        "processes": alive,
    }


def trees(pids: list[int]) -> list[psutil.Process]:
    """These processes and all below them."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        try:
            root = psutil.Process(pid)
            found[pid] = root
            found.update((child.pid, child) for child in root.children(recursive=True))
        except psutil.Error:
            continue  # it ended between two looks
    return list(found.values())


def _cpu_times(processes: list[psutil.Process]) -> dict[int, float]:
    times = {}
    for process in processes:
        try:
            spent = process.cpu_times()
        except psutil.Error:
            continue  # it ended between two looks
        times[process.pid] = spent.user + spent.system
    return times


def not_found(program: str) -> CallError:
    """There is neither an installed program nor a command to install."""
    return CallError(
        FailureKind.PERMANENT,
        "program_not_found",
        f"no program {program!r} is installed and its binding has no command; "
        "give the binding a command, or correct the program's name",
    )
