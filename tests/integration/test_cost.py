"""What a healing and an intake cost in transactions and statements: figures that no other load changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event, func, select

from tests.doubles.memory_executor import World
from tests.integration import runs_rig as rig
from uici.model.alert import Alert
from uici.store.schema import alerts

AT_ONCE = rig.LADDER.replace("stable_for: 0.1, confirm_within: 60", "stable_for: 0, confirm_within: 0")
ENGINES_OWN = "main."
"""The durable engine names its tables with their schema; ours stand alone."""


class Counted:
    """Our own statements, in order."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.of_the_intake: list[str] = []

    @property
    def transactions(self) -> int:
        return self.statements.count("BEGIN IMMEDIATE")

    def __call__(self, connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if ENGINES_OWN not in statement:
            self.statements.append(statement)
            if threading.current_thread().name == "uici-intake":
                self.of_the_intake.append(statement)


@contextmanager
def counting() -> Iterator[Counted]:
    """Count the statements of all databases of this process."""
    counted = Counted()
    event.listen(sqlalchemy.Engine, "before_cursor_execute", counted)
    try:
        yield counted
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", counted)


def test_a_healing_takes_few_transactions(tmp_path: Path) -> None:
    world = World()
    config = rig.site(tmp_path / "site", "first", "web", strategies=AT_ONCE, platform="runs: {sweep_seconds: 60}\n")
    with rig.running(config, world) as application:
        rig.closed(application, rig.send(application, rig.alert("first")))  # what is made once is made
        with counting() as counted:
            accepted = rig.send(application, rig.alert("web"))
            assert rig.closed(application, accepted)["outcome"] == "healed"
    # Accepted, taken up, planned, slot taken, ready to send, announced, settled, confirmed, verified, closed.
    assert counted.transactions <= 10, counted.statements


def test_two_hundred_alerts_are_one_transaction_of_few_statements(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", *(f"web{number}" for number in range(20)))
    several: list[Alert] = [rig.alert(f"web{number % 20}", f"Down{number}", pod=f"p{number}") for number in range(200)]
    with rig.running(config, World()) as application:
        with counting() as first:
            accepted = rig.send(application, *several)
        with counting() as second:
            again = rig.send(application, *several)
        with application.store.read() as connection:
            stored = connection.execute(select(func.count()).select_from(alerts)).scalar_one()
    assert (accepted.new, again.new, stored) == (200, 0, 200)
    assert first.of_the_intake.count("BEGIN IMMEDIATE") == second.of_the_intake.count("BEGIN IMMEDIATE") == 1
    # One look for the alerts, one for each incident, one insert for each of four tables, one look for the answer.
    assert len(first.of_the_intake) <= 1 + 1 + 20 + 4 + 1, first.of_the_intake
    assert len(second.of_the_intake) <= 1 + 1 + 1 + 1, second.of_the_intake
