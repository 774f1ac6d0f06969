"""What a healing and an intake cost in transactions and statements: figures that no other load changes."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import sqlalchemy
from anyio import to_thread
from sqlalchemy import event, func, select

from tests.benchmarks.catalogue import write_site
from tests.doubles.memory_executor import World
from tests.integration import runs_rig as rig
from tests.integration import service_rig
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import Catalogue
from uici.catalogue.tree import Tree
from uici.model.alert import Alert
from uici.model.call import Call
from uici.store.schema import alerts, events
from uici.translation.verb_tests import VerbProver

AT_ONCE = rig.LADDER.replace("stable_for: 0.1, confirm_within: 60", "stable_for: 0, confirm_within: 0")
ENGINES_OWN = "main."
"""The durable engine names its tables with their schema; ours stand alone."""


class Counted:
    """Our own statements, in order."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.of_the_intake: list[str] = []
        self.of_the_run: list[str] = []
        self.of_who_counts: list[str] = []
        self._counts = threading.current_thread()

    @property
    def transactions(self) -> int:
        return self.statements.count("BEGIN IMMEDIATE")

    def __call__(self, connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if ENGINES_OWN not in statement:
            self.statements.append(statement)
            if threading.current_thread().name == "uici-intake":
                self.of_the_intake.append(statement)
            if threading.current_thread().name.startswith("dbos"):
                self.of_the_run.append(statement)
            if threading.current_thread() is self._counts:
                self.of_who_counts.append(statement)


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
    # Accepted, taken up, slot taken with its plan, announced, settled, closed.
    assert counted.transactions <= 6, counted.statements
    # What is looked at, judged and written between the taking up and the end; beside the ticker and who asks meanwhile.
    # Of them twelve for the audit log: its head read, its entries added, its head moved in four transactions.
    assert len(counted.of_the_run) <= 62, counted.of_the_run


def test_a_sweep_asks_the_engine_once_for_all_that_is_at_work(tmp_path: Path) -> None:
    world, hold, begun = World(), threading.Event(), threading.Semaphore(0)

    def stay(moment: str, environment: str, call: Call) -> None:
        if moment == "perform" and call.mutates:
            begun.release()
            hold.wait(rig.DEADLINE)

    world.hook = stay
    names = ["web", "api", "db"]
    config = rig.site(tmp_path / "site", *names, strategies=AT_ONCE, platform="runs: {sweep_seconds: 60}\n")
    asked: list[str] = []

    def count(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            asked.append(statement)

    with rig.running(config, world) as application:
        accepted = [rig.send(application, rig.alert(name)) for name in names]
        try:
            assert all(begun.acquire(timeout=rig.DEADLINE) for _ in names)
            event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
            application.engine._recovery.rescue_lost()
        finally:
            event.remove(sqlalchemy.Engine, "before_cursor_execute", count)
            hold.set()
        assert [rig.closed(application, each)["outcome"] for each in accepted] == ["healed"] * 3
    assert len([statement for statement in asked if ENGINES_OWN in statement]) == 1, asked


@contextmanager
def called() -> Iterator[Counter[str]]:
    """Count the calls of this thread that go to functions of `uici`, by module and name."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and (module := frame.f_globals.get("__name__", "")).startswith("uici."):
            calls[f"{module.removeprefix('uici.')}.{frame.f_code.co_name}"] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@contextmanager
def stepped() -> Iterator[Counter[str]]:
    """Count the steps of Python's interpreter that this thread takes in functions of `uici`."""
    counts: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> Any:
        if event == "call":
            if not frame.f_globals.get("__name__", "").startswith("uici."):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            counts["steps"] += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield counts
    finally:
        sys.settrace(before)


def test_a_preview_does_once_what_has_to_be_done_once(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", "web", platform="runs: {sweep_seconds: 60}\n")
    document = service_rig.notification(service_rig.alert("Down", uici_target="web"))
    with rig.running(config, World()) as application:
        preview = partial(application.control.preview, document, None)
        (shown,) = preview()["previews"]
        assert shown["outcome"] == "would run"
        with counting() as counted, called() as calls:
            preview()
    assert len(counted.of_who_counts) <= 1, counted.of_who_counts
    assert counted.of_who_counts[0].startswith("SELECT")
    # Masked as a whole, and each value of its changes under its own name.
    assert calls["model.masking.mask"] <= 1 + 2 + 2  # and what each finding shows, before it is cut
    # Translated, judged for their shape and written out for the hash: the plan's step and the look before once, ever.
    assert calls["translation.translating.prepare"] == calls["model.plan.canonical"] == 0
    assert calls["model.parameters.check_value"] == 0
    assert calls["model.plan.cid"] == calls["guard.judging.judge"] == calls["diagnosis.findings.find"] == 1
    assert calls["runs.platforms.perform_reads"] == 1
    # Nobody is asked who cannot answer.
    assert calls["runs.rehearsing._ask_all"] == calls["runs.bounded.rehearse"] == 0
    # Of all functions together: it was 1,829 when a preview took two and a half times as long, and it is 780.
    assert calls.total() <= 900, calls.most_common(40)


def test_a_reload_costs_what_changed_and_not_what_lies_beside_it(tmp_path: Path) -> None:
    def reloading(verbs: int) -> tuple[Counter[str], int]:
        folder = write_site(tmp_path / f"{verbs}", verbs, 2)
        executors = discover_executors()
        catalogue, prover = Catalogue(Tree(folder), executors=executors), VerbProver(executors)

        def again(text: str, counting: AbstractContextManager[Counter[str]]) -> Counter[str]:
            path = folder / "operations" / "verb_7.yml"
            path.write_text(path.read_text().replace("Verb 7 ", f"Verb 7 {text} "))
            look = catalogue.tree.look()
            with counting as counts:
                catalogue.tree.digest(look)
                assert prover.failures(catalogue.load(look)) == []
            return counts

        again("whole", called())  # the first time everything is read
        return again("then", called()), again("last", stepped())["steps"]

    (few, few_steps), (many, many_steps) = reloading(10), reloading(60)
    assert few["catalogue.tree._hash"] == many["catalogue.tree._hash"] == 1
    assert few["catalogue.reading.read_file"] == many["catalogue.reading.read_file"] == 1
    assert few["translation.translating.prepare"] == many["translation.translating.prepare"] == 2
    # Nothing is called for a verb that did not change, and hardly anything else done: it is passed over as the same.
    assert many.total() - few.total() < 50, (many - few).most_common(20)
    # 30 steps of the interpreter; comparing each stamp with the former one, as was done once, takes 45 more.
    assert (many_steps - few_steps) / 50 <= 40, (few_steps, many_steps)


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
            of_incidents = events.c.type.in_(["incident_opened", "alert_joined"])
            counts = select(events.c.type, func.count()).where(of_incidents).group_by(events.c.type)
            told = {row[0]: row[1] for row in connection.execute(counts)}
    assert (accepted.new, again.new, stored) == (200, 0, 200)
    assert first.of_the_intake.count("BEGIN IMMEDIATE") == second.of_the_intake.count("BEGIN IMMEDIATE") == 1
    # One look for the alerts, one for the open incidents, one insert for each of four tables.
    assert len(first.of_the_intake) <= 1 + 1 + 1 + 4, first.of_the_intake
    # One look for the alerts, one update of them, one look for their incidents.
    assert len(second.of_the_intake) <= 1 + 1 + 1 + 1, second.of_the_intake
    # Of two hundred alerts in twenty incidents, each incident's log tells twice: opened, and what else came with it.
    assert told == {"incident_opened": 20, "alert_joined": 20}


def test_alerts_that_have_gone_silent_wake_their_runs_in_one_statement(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", *(f"web{number}" for number in range(20)))
    with rig.running(config, World()) as application:
        rig.send(application, *(rig.alert(f"web{number}") for number in range(20)))
        with counting() as counted:
            rig.send(application, *(rig.alert(f"web{number}", status="resolved") for number in range(20)))
    # One look for the alerts, one update of them, twenty events, the waking, one look for the incidents.
    assert len(counted.of_the_intake) <= 1 + 1 + 1 + 1 + 1 + 1, counted.of_the_intake


def test_no_look_of_the_intake_reads_all_that_is_stored(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", "first", "web")
    with rig.running(config, World()) as application:
        with counting() as counted:
            for status in ("firing", "firing", "resolved"):
                rig.send(application, rig.alert("first", status=status), rig.alert("web", status=status))
        with application.store.read() as connection:
            for statement in {each for each in counted.of_the_intake if each.startswith(("SELECT", "UPDATE"))}:
                unbound = (None,) * statement.count("?")
                plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", unbound)]
                assert not {"SCAN alerts", "SCAN incidents", "SCAN runs"} & set(plan), (statement, plan)


def test_a_notification_of_a_known_sender_waits_for_no_thread_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[object] = []
    run_sync = to_thread.run_sync

    async def counted(function: Any, *arguments: Any, **more: Any) -> Any:
        changes.append(function)
        return await run_sync(function, *arguments, **more)

    with service_rig.serving(tmp_path) as served:
        body = service_rig.notification(service_rig.alert())
        assert served.alert(body).status_code == 202  # from now on the token is known
        monkeypatch.setattr(to_thread, "run_sync", counted)
        assert served.alert(body).status_code == 202
    assert changes == []
