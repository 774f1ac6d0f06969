"""What several processes that share a state in PostgreSQL must not do twice, each with objects of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Integer, Select, column, func, select, table
from sqlalchemy.exc import DBAPIError

from tests.doubles.memory_executor import World
from tests.integration.notify_rig import Receiver, SetClock, channel, settings, tell
from tests.integration.runs_rig import alert, closed, incident_of, running, send, site
from tests.real.postgres import Postgres, postgres
from tests.waiting import until
from uici.audit.chain import record
from uici.audit.entries import Entry
from uici.audit.verifying import rows, verify_stored
from uici.events.log import EventLog
from uici.intake.queries import known_alerts
from uici.model.base import JsonObject
from uici.model.errors import Problem
from uici.model.identity import SelfIdentity, Selves
from uici.notify.delivery import Deliverer
from uici.runs.setback import SetbackWatch
from uici.runs.workers import Workers, list_workers
from uici.store.clock import ServiceClock, elapsed
from uici.store.database import Store
from uici.store.inserting import insert_many
from uici.store.postgres import STALLED_MILLISECONDS
from uici.store.schema import alerts, approvals, deliveries, events, outbox
from uici.store.workers import workers

pytestmark = pytest.mark.component("postgres")
TAKEOVER = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def stores(server: Postgres, request: pytest.FixtureRequest) -> Iterator[tuple[Store, Store]]:
    """One state, opened by two."""
    name = f"t{abs(hash(request.node.name)):x}"
    with server.connect("postgres") as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    opened = Store(server.database(name)), Store(server.database(name))
    try:
        yield opened
    finally:
        for store in opened:
            store.close()


@pytest.fixture
def both(stores: tuple[Store, Store]) -> tuple[Store, Store]:
    """The same, with its tables."""
    stores[0].migrate()
    return stores


def test_those_that_start_at_once_make_the_tables_once(stores: tuple[Store, Store]) -> None:
    failed: list[Exception] = []

    def start(store: Store) -> None:
        try:
            store.migrate()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert stores[1].reachable() is None


def test_a_healing_goes_the_whole_way(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UICI_TEST_POSTGRES", server.database("").rstrip("/"))
    world = World()
    world.service("web")
    with running(site(tmp_path / "site", "web"), world) as uici:
        accepted = send(uici, alert("web"))
        until(lambda: world.changes("web"), "the restart")
        (worker,) = list_workers(uici.store)
        again = send(uici, alert("web"))
        assert (again.new, again.incidents[0].id) == (0, accepted.incidents[0].id)
        send(uici, alert("web", status="resolved"))
        assert closed(uici, accepted)["outcome"] == "healed"
        assert incident_of(uici, accepted)["timeline"]
        assert worker["draining"] is False
        assert worker["seen_at"] is not None
    assert world.changes("web") == ["program.restart"]


def test_writers_of_two_processes_stand_in_one_line(both: tuple[Store, Store]) -> None:
    """Events get their numbers in the order in which they become visible: whoever follows them misses none."""
    rounds = 60

    def write(store: Store, name: str) -> None:
        for _ in range(rounds):
            with store.write() as connection:
                newest = connection.execute(select(func.max(events.c.seq))).scalar() or 0
                rows = [{"at": datetime.now(UTC), "type": name, "data": {"newest": newest}}]
                insert_many(connection, events, rows)

    threads = [threading.Thread(target=write, args=(store, str(number))) for number, store in enumerate(both)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with both[0].read() as connection:
        found = connection.execute(select(events.c.seq, events.c.data).order_by(events.c.seq)).all()
    assert [row.data["newest"] for row in found] == [0, *(row.seq for row in found[:-1])]
    assert len(found) == 2 * rounds


def test_the_audit_log_that_several_write_at_once_is_proved_and_cannot_be_changed(both: tuple[Store, Store]) -> None:
    def write(store: Store, actor: str) -> None:
        for number in range(400):
            with store.write() as connection:
                entries = (Entry(at=datetime.now(UTC), kind="guarded", actor=actor, data={"n": number}),) * 2
                record(connection, *entries)

    threads = [threading.Thread(target=write, args=(store, str(number))) for number, store in enumerate(both)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # More than are read at once, by the way of the commands.
    with both[0].read() as connection:
        assert [row["seq"] for row in rows(connection)] == list(range(1, 1601))
        assert [row["seq"] for row in rows(connection, after=3, most=1100)] == list(range(4, 1104))
        report = verify_stored(connection, None, None)
    assert (report.problem, report.entries) == (None, 1600)
    for statement in (
        "UPDATE audit SET actor = 'x' WHERE seq = 1", "DELETE FROM audit WHERE seq = 1", "TRUNCATE audit",
        "UPDATE audit_head SET seq = 1", "DELETE FROM audit_head", "TRUNCATE audit_head",
    ):  # fmt: skip
        with pytest.raises(DBAPIError, match="audit log"), both[1].write() as connection:
            connection.exec_driver_sql(statement)
    with both[1].write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER ALL")
        connection.exec_driver_sql("UPDATE audit SET actor = 'x' WHERE seq = 2")
    with both[0].read() as connection:
        assert "entry 2 was changed" in str(verify_stored(connection, None, None).problem)


def test_a_writer_that_stands_still_in_its_midst_is_ended(both: tuple[Store, Store]) -> None:
    stuck, others = both
    released, begun = threading.Event(), threading.Event()
    failed: list[Exception] = []

    def stall() -> None:
        try:
            with stuck.write() as connection:
                connection.execute(select(1))
                begun.set()
                released.wait()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=stall)
    thread.start()
    begun.wait()
    before = elapsed()
    with others.write() as connection:
        connection.execute(select(1))
    waited = elapsed() - before
    released.set()
    thread.join()
    assert waited >= STALLED_MILLISECONDS / 1000 * 0.5, "the two did not meet"
    assert len(failed) == 1, "its transaction came to a good end although others wrote meanwhile"


def test_a_worker_that_shows_no_sign_of_life_is_declared_dead_once(both: tuple[Store, Store]) -> None:
    clock = ServiceClock()
    lost: list[str] = []
    silent = Workers(both[0], clock, TAKEOVER, Selves(SelfIdentity()), lambda: lost.append("silent"))
    watchers = [
        Workers(store, clock, TAKEOVER, Selves(SelfIdentity()), lambda: lost.append("watcher")) for store in both
    ]
    for worker in (silent, *watchers):
        worker.join()
    announced = elapsed()
    assert silent.may_send(announced)
    # As a process that is stopped: it beats no more.
    silent._stopping.set()
    until(lambda: silent.id not in watchers[0].alive() and silent.id not in watchers[1].alive(), "the takeover")
    assert not silent.may_send(elapsed()), "it still believes that it may send"
    assert {worker["id"] for worker in list_workers(both[0])} == {watcher.id for watcher in watchers}
    silent._stopping.clear()
    silent._beat()
    assert lost == ["silent"], "it was not told that it had been declared dead"
    for watcher in watchers:
        watcher.leave()
    assert list_workers(both[0]) == []


def test_each_knows_what_the_others_are(both: tuple[Store, Store]) -> None:
    own = [SelfIdentity(names=frozenset({name}), pids=frozenset({pid})) for name, pid in (("here", 1), ("there", 2))]
    selves = [Selves(identity) for identity in own]
    first, second = (Workers(both[n], ServiceClock(), 600, selves[n], lambda: None) for n in (0, 1))
    first.join()
    second.join()
    try:
        first._beat()
        assert selves[0]() == selves[1]() == own[0].joined_with([own[1]])
        assert selves[0]() is selves[0](), "whoever remembers what it judged would judge anew each time"
        # Elsewhere the numbers of processes mean others.
        with both[1].write() as connection:
            row = connection.execute(select(workers.c.identity).where(workers.c.id == second.id)).scalar_one()
            moved = row | {"processes": "another machine"}
            connection.execute(workers.update().where(workers.c.id == second.id).values(identity=moved))
        first._beat()
        assert selves[0]() == own[0].joined_with([SelfIdentity(names=frozenset({"there"}))])
    finally:
        second.leave()
    first._beat()
    assert selves[0]() == own[0]
    first.leave()


def test_what_was_announced_too_long_ago_is_not_sent(both: tuple[Store, Store]) -> None:
    worker = Workers(both[0], ServiceClock(), 600, Selves(SelfIdentity()), lambda: None)
    worker.join()
    assert worker.may_send(elapsed())
    assert not worker.may_send(elapsed() - worker.latest_sending - 0.1)
    worker.leave()
    assert not worker.may_send(elapsed())


def test_a_pause_of_the_watcher_counts_for_nobodys_death(
    both: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ServiceClock()
    alive = Workers(both[0], clock, 600, Selves(SelfIdentity()), lambda: None)
    watcher = Workers(both[1], clock, 600, Selves(SelfIdentity()), lambda: None)
    alive.join()
    watcher.join()
    try:
        now = [1000.0]
        monkeypatch.setattr("uici.runs.workers.time.monotonic", lambda: now[0])
        assert alive.id in watcher.alive()
        now[0] += 100_000
        assert alive.id in watcher.alive(), "it was declared dead for a time in which nobody looked"
        for _ in range(7):
            now[0] += 600 / 5
            last = watcher.alive()
        assert alive.id not in last
    finally:
        alive.leave()
        watcher.leave()


def test_a_message_is_sent_by_one_of_two(both: tuple[Store, Store]) -> None:
    clock = SetClock()
    for number in range(25):
        tell(both[0], f"message {number}", clock.now())
    got = Receiver()
    senders = [
        Deliverer(store, clock, [channel(got, limited=False)], settings(), f"worker {number}")
        for number, store in enumerate(both)
    ]
    with both[0].write() as connection:
        rows = [
            {"id": f"worker {number}", "host": "", "pid": 1, "version": "", "started_at": clock.now()}
            | {"seen_at": clock.now(), "beats": 0, "draining": False}
            for number in range(len(senders))
        ]
        connection.execute(workers.insert(), rows)
    for sender in senders:
        sender.start()
    until(lambda: len(got.got) >= 25, "all messages")
    for sender in senders:
        sender.stop(30)
    assert sorted(got.titles()) == sorted(f"message {number}" for number in range(25))


def test_what_a_dead_one_was_sending_is_sent_by_another(both: tuple[Store, Store]) -> None:
    clock = SetClock()
    tell(both[0], "half sent", clock.now())
    with both[0].write() as connection:
        message = connection.execute(select(outbox.c.id, outbox.c.kind)).one()
        connection.execute(outbox.update().values(routed_at=clock.now()))
        row = {"message_id": message.id, "channel": "receiver", "kind": message.kind, "state": "pending", "tries": 0}
        times = {"created_at": clock.now(), "next_at": clock.now(), "error": "", "claimed_by": "of the dead"}
        connection.execute(deliveries.insert().values(row | times))
    got = Receiver()
    sender = Deliverer(both[1], clock, [channel(got)], settings(), "worker")
    sender.start()
    until(lambda: got.titles() == ["half sent"], "the message")
    sender.stop(30)


def test_a_clock_that_is_set_back_moves_each_question_once(both: tuple[Store, Store]) -> None:
    clock = SetClock()
    watches = [SetbackWatch(store, clock) for store in both]
    for watch in watches:
        watch.look()
    ends = clock.now() + timedelta(minutes=10)
    with both[0].write() as connection:
        question = {"id": "a", "run_id": "r", "cid": "c", "state": "pending", "requested_at": clock.now()}
        connection.execute(approvals.insert().values(question | {"expires_at": ends, "comment": ""}))
    clock.time -= timedelta(hours=1)
    for watch in watches:
        watch.look()
    with both[0].read() as connection:
        assert connection.execute(select(approvals.c.expires_at)).scalar_one() == ends - timedelta(hours=1)


def test_who_follows_the_events_sees_those_of_another_process(both: tuple[Store, Store]) -> None:
    clock = SetClock()
    writer, reader = EventLog(both[0], clock), EventLog(both[1], clock)
    threading.Timer(0.3, lambda: _append(writer)).start()
    reader.wait(0, 30)
    assert [event.type for event in reader.read()] == ["happened"]


def _append(log: EventLog) -> None:
    with log.writing() as connection:
        log.append(connection, "happened")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://uici:secret@127.0.0.1/uici", "password_in_state"),
        ("postgresql://uici@127.0.0.1", "unsupported_state"),
        ("mysql://uici@127.0.0.1/uici", "unsupported_state"),
    ],
)
def test_a_state_that_cannot_be_used_is_refused_without_its_password(url: str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        Store(url)
    assert refused.value.code == code
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_a_clear_problem() -> None:
    store = Store("postgresql://uici@127.0.0.1:1/uici")
    with pytest.raises(Problem) as refused:
        store.migrate()
    assert (refused.value.code, refused.value.where) == ("state_unusable", "postgresql://uici@127.0.0.1:1/uici")
    assert store.reachable() is not None


def test_a_writer_finds_by_an_index_what_was_prepared_while_tables_were_empty(both: tuple[Store, Store]) -> None:
    store, _ = both
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    wanted = [(f"{number:016x}", begun) for number in range(20)]
    for _ in range(10):  # the driver prepares what is asked five times, and the server keeps the plan of the tenth
        with store.write() as connection:
            assert known_alerts(connection, wanted) == {}
    with store.write() as connection:
        insert_many(connection, alerts, [_stored(f"{number:016x}", begun) for number in range(3_000)])
    before = _scans(store)
    with store.write() as connection:
        assert len(known_alerts(connection, wanted)) == 20
    assert _scans(store) == before
    with store.read() as connection:
        labels = connection.execute(select(alerts.c.labels).limit(1)).scalar_one()
    assert labels == _stored("", begun)["labels"]


def _scans(store: Store) -> int:
    """How often all alerts were gone through, as far as the one connection that writes here knows."""
    counted: Select[int] = select(column("seq_scan", Integer)).select_from(table("pg_stat_user_tables"))
    with store.write() as connection:
        connection.execute(select(func.pg_stat_force_next_flush()))
    with store.write() as connection:
        return connection.execute(counted.where(column("relname") == "alerts")).scalar_one()


def _stored(fingerprint: str, begun: datetime) -> JsonObject:
    texts = dict.fromkeys(("generator_url", "receiver", "sender", "reason"), "")
    times = dict.fromkeys(("starts_at", "first_seen", "last_seen"), begun)
    none = dict.fromkeys(("incident_id", "outcome", "ends_at"))
    labels: JsonObject = {"alertname": "Down", "quoted": 'a "b" \\ c'}
    return {"fingerprint": fingerprint, "status": "firing", "labels": labels, "annotations": {}, "deliveries": 1} | (
        texts | times | none
    )
