"""Upgrades as they happen: started twice, killed in the midst, beside an older version, back to an older version."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import alert, closed, running, send, site
from tests.newer_schema import ADDITIVE, BREAKING
from tests.real.components import REPOSITORY
from tests.real.disk import small_disk
from tests.state_schemas import described, kept_rows, make_schema_2
from tests.waiting import until
from uici.model.errors import Problem
from uici.store.copies import copy_database
from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.migrations import version_of
from uici.store.schema import runs

DEADLINE = 60.0


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{path}")
    try:
        yield store
    finally:
        store.close()


def old_state(path: Path) -> Path:
    """A state of schema 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened(path) as store, store.engine.begin() as connection:
        make_schema_2(connection)
    return path


def as_found(path: Path) -> tuple[Any, Any]:
    """The tables of a state and its rows of before."""
    with opened(path) as store, store.read() as connection:
        return described(connection), kept_rows(connection)


def migrating(path: Path, schema: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.newer_schema", f"sqlite:///{path}", schema],
        cwd=REPOSITORY,
        env=os.environ | environment,
    )


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.schema*.backup"))


def test_of_several_that_start_at_once_one_migrates_and_the_others_wait(tmp_path: Path) -> None:
    path = old_state(tmp_path / "uici.db")
    started = [migrating(path, "current") for _ in range(3)]
    assert [process.wait(DEADLINE) for process in started] == [0, 0, 0]
    assert len(backups(path)) == 1
    with opened(path) as store, store.read() as connection:
        assert version_of(connection) == (CURRENT.version, CURRENT.compatible_from)


def test_the_backup_is_the_state_of_before_for_its_owner_only(tmp_path: Path) -> None:
    path = old_state(tmp_path / "uici.db")
    before = as_found(path)
    with opened(path) as store:
        store.migrate()
    (backup,) = backups(path)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT value FROM uici_meta WHERE name = 'schema_version'").fetchone() == ("2",)
    assert as_found(backup) == before


def test_killed_in_the_midst_of_a_migration_the_old_state_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "uici.db"
    with opened(path) as store:
        store.migrate()
    before = as_found(path)
    mark = tmp_path / "mark"
    process = migrating(path, "stalling", UICI_TEST_MARK=str(mark))
    try:
        until(mark.exists, "the migration's midst")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
    assert as_found(path) == before
    with opened(path) as store:
        store.migrate(ADDITIVE)
        with store.read() as connection:
            assert version_of(connection) == (ADDITIVE.version, CURRENT.version)


def test_this_version_works_on_a_newer_schema_that_is_compatible_with_it(tmp_path: Path) -> None:
    config = site(tmp_path / "site", "web")
    path = tmp_path / "state" / "uici.db"
    with opened(path) as store:
        store.migrate(ADDITIVE)
    with running(config, World()) as application:
        assert application.control.ready()["ok"]
        incident = closed(application, send(application, alert("web"), alert("web", status="resolved")))
        assert incident["outcome"] in ("healed", "self_resolved")
        application.control.ready()
        with application.store.read() as connection:
            assert version_of(connection) == (ADDITIVE.version, CURRENT.version), "it left the newer number alone"
            assert connection.execute(select(runs.c.id)).all()


def test_this_version_refuses_a_newer_schema_that_leaves_it_behind(tmp_path: Path) -> None:
    path = tmp_path / "uici.db"
    with opened(path) as store:
        store.migrate()
        store.migrate(BREAKING)
        with pytest.raises(Problem) as refused:
            store.migrate()
    assert refused.value.code == "state_is_newer"
    assert f"schema {BREAKING.version}" in refused.value.detail
    assert "the backup that the newer version made" in (refused.value.hint or "")


@pytest.mark.parametrize(("schema", "may"), [(ADDITIVE, True), (BREAKING, False)], ids=["additive", "breaking"])
def test_beside_an_older_version_at_work_only_what_it_can_bear_is_migrated(
    tmp_path: Path, schema: Any, may: bool
) -> None:
    config = site(tmp_path / "site", "web")
    path = tmp_path / "state" / "uici.db"
    with running(config, World()) as older, opened(path) as newer:
        if may:
            newer.migrate(schema)
        else:
            with pytest.raises(Problem) as refused:
                newer.migrate(schema)
            assert refused.value.code == "state_in_use"
            assert backups(path) == []
        incident = closed(older, send(older, alert("web"), alert("web", status="resolved")))
        assert incident["state"] == "closed"
    with opened(path) as newer:
        newer.migrate(schema)


def test_there_is_no_way_from_a_schema_that_was_never_published(tmp_path: Path) -> None:
    path = old_state(tmp_path / "uici.db")
    with opened(path) as store:
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE uici_meta SET value = '1' WHERE name = 'schema_version'")
        with pytest.raises(Problem) as refused:
            store.migrate()
    assert refused.value.code == "state_is_older"


@pytest.mark.component("tmpfs")
def test_without_room_for_the_backup_nothing_is_changed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = old_state(disk.folder / "uici.db")
        before = as_found(path)
        with opened(path) as store, pytest.raises(Problem) as refused:
            store.migrate()
        assert refused.value.code == "no_room_for_a_copy"
        assert as_found(path) == before
        assert backups(path) == []


def test_a_copy_of_a_state_under_many_writes_ends_and_is_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "busy.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER);"
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 200000) "
            "INSERT INTO a SELECT n FROM c;"
            "INSERT INTO b SELECT n FROM a;"
        )
    code = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n"
        "while True:\n"
        "    c.execute('BEGIN IMMEDIATE')\n"
        "    c.execute('INSERT INTO a VALUES (1)')\n"
        "    c.execute('INSERT INTO b VALUES (1)')\n"
        "    c.execute('COMMIT')\n"
        "    print(flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"\n"
        copy_database(path, tmp_path / "copy.db")
    finally:
        writer.kill()
        writer.communicate()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        (of_a, of_b) = connection.execute("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)").fetchone()
    assert of_a == of_b > 200000


def test_a_second_process_cannot_begin_to_work_while_a_state_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "uici.db"
    with opened(path) as store:
        store.migrate()
    mark = tmp_path / "mark"
    process = migrating(path, "stalling", UICI_TEST_MARK=str(mark))
    try:
        until(mark.exists, "the migration's midst")
        with (tmp_path / "uici.db.lock").open("a+") as lease, pytest.raises(BlockingIOError):
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        process.kill()
        process.wait(DEADLINE)


def test_an_engine_of_a_newer_library_s_tables_starts_and_works(tmp_path: Path) -> None:
    """What is said of the engine's own migrations: an older library takes a higher number without a word."""
    config = site(tmp_path / "site", "web")
    with running(config, World()) as application:
        send(application, alert("web"))
    with closing(sqlite3.connect(tmp_path / "state" / "uici.db")) as connection, connection:
        connection.execute("UPDATE dbos_migrations SET version = version + 1000")
    with running(config, World()) as application:
        accepted = send(application, alert("web", starts=datetime.now(UTC)))
        send(application, alert("web", starts=datetime.now(UTC), status="resolved"))
        assert closed(application, accepted)["state"] == "closed"
