"""Whole runs over services in memory, beside the bare durable engine; and what ten thousand of them leave behind."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import func, select

from tests.benchmarks import ground
from tests.benchmarks.measuring import Ratio, Result
from tests.doubles.memory_executor import World
from tests.real.components import REPOSITORY
from tests.waiting import until
from uici.bootstrap import Application
from uici.intake.payload import parse_notification
from uici.runs.journal import JsonSerializer
from uici.store.database import Store, close_pool
from uici.store.schema import runs

STAGES, WRITTEN = 5, 3
"""What a healing does, one by one: look and judge, send, confirm, verify, close; and how often the run is written down
on its way: announced, settled, closed.
"""
_AT_ONCE = 200
_ROUNDS = 3
_THREADS = 32
_WARM = 10
_ENGINES = ("workflow_", "operation_outputs", "notifications", "streams", "queues", "dbos_", "application_versions")
"""How the names of the durable engine's tables begin."""
_INCIDENTS = 10_000
_WAVE = 500
_LONGEST_SECONDS = 420.0
_DEADLINE = 120.0


def rates(folder: Path) -> Result:
    """Rounds of healings and of bare workflows in turn, on the same settings of SQLite: workflows with a step for each
    thing that a healing does, and with one for each time that it is written down.
    """
    own = []
    beside: dict[int, list[float]] = {STAGES: [], WRITTEN: []}
    for number in range(_ROUNDS):
        for steps, found in beside.items():
            found.append(bare(_file(folder / f"bare{number}-{steps}"), steps))
        own.append(_healings(folder / f"own{number}"))
    return Result(
        name="runs",
        ratios=tuple(
            Ratio("incidents healed", max(own), f"bare workflows of {steps} steps", max(found), "/s", max(found) / 2)
            for steps, found in beside.items()
        ),
        facts={"runs in a round": _AT_ONCE, "rounds": _ROUNDS},
    )


def lasting(folder: Path) -> Result:
    """Memory and size of the state while ten thousand incidents go the whole way, in a process of its own."""
    entry = f"from tests.benchmarks.running import last; last({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", entry], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    before, after = found["before"], found["after"]
    grown = (after["state_bytes"] - before["state_bytes"]) / (after["incidents"] - before["incidents"])
    return Result(
        name="lasting",
        ratios=(
            Ratio(
                f"resident memory after {after['incidents']} incidents",
                after["memory_mb"],
                f"after {before['incidents']}",
                before["memory_mb"],
                "MB",
            ),
        ),
        facts={
            "state file grows, KB an incident": round(grown / 1024, 1),
            "incidents": after["incidents"],
            "seconds": round(found["seconds"]),
        },
    )


def growth(folder: Path) -> Result:
    """Rows and bytes that one healed incident leaves, table by table, beside the journal of as many bare workflows."""
    config = ground.site(folder / "site", _AT_ONCE)
    with _running(config, folder) as application:
        state = application.store.path
        assert state is not None
        _heal(application, ground.bodies(1, 10, 10, 1), 10)
        before = _contents(state)
        _heal(application, ground.bodies(2, _AT_ONCE // 2, _AT_ONCE, 2), 10 + _AT_ONCE)
        after = _contents(state)
    own = {
        name: tuple(now - then for now, then in zip(after[name], before.get(name, (0, 0)), strict=True))
        for name in after
    }
    journal = {name: grown for name, grown in own.items() if name.startswith(_ENGINES)}
    beside = folder / "bare"
    bare(_file(beside), STAGES)
    left = sum(size for name, (_, size) in _contents(beside / "bench.db").items() if name.startswith(_ENGINES))
    whole = sum(size for _, size in own.values())
    return Result(
        name="growth",
        ratios=(
            Ratio(
                "bytes of a healed incident",
                whole / _AT_ONCE,
                f"journal of a bare workflow of {STAGES} steps",
                left / (_AT_ONCE + _WARM),
                "B",
            ),
            Ratio(
                "of them the engine's journal, which is forgotten after an hour",
                sum(size for _, size in journal.values()) / _AT_ONCE,
                f"journal of a bare workflow of {STAGES} steps",
                left / (_AT_ONCE + _WARM),
                "B",
            ),
        ),
        facts={
            f"{name}: rows, bytes": f"{rows / _AT_ONCE:.2f}, {size / _AT_ONCE:.0f}"
            for name, (rows, size) in sorted(own.items(), key=lambda item: -item[1][1])
            if rows or size
        }
        | {"rows of an incident": round(sum(rows for rows, _ in own.values()) / _AT_ONCE, 2)},
    )


def _contents(state: Path) -> dict[str, tuple[int, int]]:
    """Rows and bytes of each table, with its indexes, as they lie in the file."""
    sizes: dict[str, int] = {}
    with closing(sqlite3.connect(state)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        of = "SELECT m.tbl_name, s.payload FROM dbstat s JOIN sqlite_master m ON m.name = s.name WHERE s.aggregate = 1"
        for table, payload in connection.execute(of):
            sizes[table] = sizes.get(table, 0) + payload
        return {
            name: (connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0], sizes.get(name, 0))
            for name in tables
        }


def last(folder: str) -> None:
    """What the process of `lasting` runs: waves of incidents, until there are enough or time is up."""
    config = ground.site(Path(folder) / "site", _WAVE)
    readings = []
    began = time.monotonic()
    with _running(config, Path(folder)) as application:
        wave = 0
        while wave * _WAVE < _INCIDENTS and time.monotonic() - began < _LONGEST_SECONDS:
            wave += 1
            _heal(application, ground.bodies(_WAVE // 50, 50, _WAVE, wave), wave * _WAVE)
            readings.append(
                {
                    "incidents": wave * _WAVE,
                    "memory_mb": psutil.Process(os.getpid()).memory_info().rss / 2**20,
                    "state_bytes": Path(application.store.place).stat().st_size,
                }
            )
    found = {"before": readings[0], "after": readings[-1], "seconds": time.monotonic() - began}
    sys.stdout.write(json.dumps(found) + "\n")


def _healings(folder: Path) -> float:
    folder.mkdir()
    config = ground.site(folder / "site", _AT_ONCE)
    with _running(config, folder) as application:
        _heal(application, ground.bodies(1, 10, 10, 1), 10)  # what is made once is made
        begun = time.perf_counter()
        _heal(application, ground.bodies(2, _AT_ONCE // 2, _AT_ONCE, 2), 10 + _AT_ONCE)
        return _AT_ONCE / (time.perf_counter() - begun)


def _heal(application: Application, bodies: list[bytes], wanted: int) -> None:
    for body in bodies:
        application.control.submit(parse_notification(body, max_depth=32), "bench").result(_DEADLINE)
    counted = select(func.count()).select_from(runs).where(runs.c.outcome == "healed")

    def all_healed() -> bool:
        with application.store.read() as connection:
            return connection.execute(counted).scalar_one() == wanted

    until(all_healed, "the end of the runs", seconds=_DEADLINE)


@contextmanager
def _running(config: Path, folder: Path) -> Iterator[Application]:
    state = f"sqlite:///{folder / 'state' / 'uici.db'}"
    application = Application(config, state, executors={"local": World().executor_class()})
    application.start()
    try:
        yield application
    finally:
        application.stop()


def _file(folder: Path) -> str:
    folder.mkdir()
    return f"sqlite:///{folder / 'bench.db'}"


def bare(state: str, steps: int) -> float:
    """Workflows a second of the bare engine with so many steps, on the settings of our own state."""
    store = Store(state)
    store.migrate()
    engine = store.engine_for_runs()
    config: DBOSConfig = {
        "name": "uici-bench",
        "system_database_url": engine.url.render_as_string(hide_password=False),
        "system_database_engine": engine,
        "executor_id": str(uuid4()),
        "application_version": "bench",
        "serializer": JsonSerializer(),
        "max_executor_threads": _THREADS,
        "log_level": "ERROR",
    }
    DBOS(config=config)

    def step(state: dict[str, str]) -> dict[str, str]:
        return state

    def part(run_id: str) -> str:
        state = {"run_id": run_id, "data": "x" * 800}  # as long as what a run keeps between two stages
        for number in range(steps):
            state = DBOS.run_step({"name": f"step{number}"}, step, state)
        return "ended"

    room = threading.Semaphore(4)  # its best: with more at once they wait for SQLite's lock by polling

    def limited(run_id: str) -> str:
        try:
            return part(run_id)
        finally:
            room.release()

    workflow = DBOS.workflow(name="bench_part")(limited)
    DBOS.launch()
    try:
        for number in range(_WARM):
            room.acquire()
            with SetWorkflowID(f"warm{number}"):
                DBOS.start_workflow(workflow, f"warm{number}").get_result()
        begun = time.perf_counter()
        handles = []
        for number in range(_AT_ONCE):
            room.acquire()
            with SetWorkflowID(f"run{number}"):
                handles.append(DBOS.start_workflow(workflow, f"run{number}"))
        for handle in handles:
            handle.get_result()
        return _AT_ONCE / (time.perf_counter() - begun)
    finally:
        DBOS.destroy(destroy_registry=True)
        close_pool(engine)
        store.close()
