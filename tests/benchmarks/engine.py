"""The durable engine and our own commits on one SQLite file: what durability costs at least."""

from __future__ import annotations

import sqlite3
import time
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import sqlalchemy
from dbos import DBOS, DBOSConfig

from tests.benchmarks.measuring import Figure, Result, timed
from uici.store.database import Store

COUNT = 200


def measure(folder: Path) -> Result:
    """Start of a workflow to its first instruction, a workflow of three steps, and a bare commit."""
    store = Store(f"sqlite:///{folder / 'bench.db'}")
    store.migrate()
    with store.write() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE bench (id INTEGER PRIMARY KEY, text TEXT)"))
    config: DBOSConfig = {
        "name": "uici-bench",
        "system_database_engine": store.engine_for_runs(),
        "executor_id": str(uuid4()),
        "application_version": "bench",
        "log_level": "WARNING",
        "enable_otlp": False,
    }
    DBOS(config=config)

    @DBOS.step()
    def step(number: int) -> int:
        return number

    @DBOS.workflow()
    def one_instruction() -> float:
        return time.perf_counter()

    @DBOS.workflow()
    def three_steps() -> int:
        return step(1) + step(2) + step(3)

    DBOS.launch()
    try:
        waits: list[float] = []

        def first_instruction() -> None:
            begun = time.perf_counter()
            waits.append((one_instruction() - begun) * 1000)

        timed(first_instruction, count=COUNT)
        steps = timed(three_steps, count=COUNT)
        commits = timed(lambda: _commit(store), count=COUNT)
    finally:
        DBOS.destroy()
        store.close()
    return Result(
        name="engine",
        figures=(
            Figure.of("start to first instruction", waits[-COUNT:]),
            Figure.of("workflow of three steps", steps),
            Figure.of("bare commit", commits),
        ),
        facts={"sqlite": sqlite3.sqlite_version, "dbos": version("dbos")},
    )


def _commit(store: Store) -> None:
    with store.write() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO bench (text) VALUES ('x')"))
