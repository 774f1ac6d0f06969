"""Upgrades of a state that several processes share: as those of a file, with the server's locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import alert, closed, running, send, site, state_beside
from tests.newer_schema import ADDITIVE, BREAKING, SLOW
from tests.real.components import REPOSITORY
from tests.real.postgres import Postgres, postgres
from tests.state_schemas import described, kept_rows, make_schema_2
from tests.waiting import until
from uici.model.errors import Problem
from uici.store import postgres as backend
from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.migrations import version_of

DEADLINE = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def url(server: Postgres) -> str:
    """An empty database."""
    with server.connect("postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS upgraded")
        connection.execute("CREATE DATABASE upgraded")
    return server.database("upgraded")


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        store.close()


def as_found(url: str) -> tuple[Any, Any]:
    with opened(url) as store, store.read() as connection:
        return described(connection), kept_rows(connection)


def migrating(url: str, schema: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.newer_schema", url, schema], cwd=REPOSITORY, env=os.environ | environment
    )


def copies(server: Postgres) -> list[str]:
    with server.connect("upgraded") as connection:
        query = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'uici_schema%'"
        return [str(row[0]) for row in connection.execute(query)]


def test_of_several_that_start_at_once_one_migrates_and_keeps_the_tables_of_before(server: Postgres, url: str) -> None:
    with opened(url) as store, store.engine.begin() as connection:
        make_schema_2(connection)
    _, rows = as_found(url)
    started = [migrating(url, "current") for _ in range(2)]
    assert [process.wait(DEADLINE) for process in started] == [0, 0]
    (copy,) = copies(server)
    assert as_found(url)[1] == rows
    with server.connect("upgraded") as connection:
        for name, kept in rows.items():
            found = connection.execute(f'SELECT count(*) FROM {copy}."{name}"').fetchone()
            assert found == (len(kept),), name


def test_killed_in_the_midst_of_a_migration_the_old_state_is_whole(server: Postgres, url: str, tmp_path: Path) -> None:
    with opened(url) as store, store.engine.begin() as connection:
        make_schema_2(connection)
    before = as_found(url)
    mark = tmp_path / "mark"
    process = migrating(url, "stalling", UICI_TEST_MARK=str(mark))
    try:
        until(mark.exists, "the migration's midst")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)
    assert as_found(url) == before
    assert copies(server) == []
    with opened(url) as store:
        store.migrate(ADDITIVE)
        with store.read() as connection:
            assert version_of(connection) == (ADDITIVE.version, CURRENT.version)


def test_a_migration_and_who_waits_for_it_have_all_the_time_they_need(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url) as store:
        store.migrate()
    # All limits are shorter than the migration: of a statement and a pause on the server's side, and on this side.
    limits = "-c statement_timeout=1000 -c idle_in_transaction_session_timeout=1000"
    monkeypatch.setitem(backend._CONNECTING, "options", limits)
    monkeypatch.setattr(backend, "SILENT_SECONDS", 1.0)
    with opened(url) as one, opened(url) as other, ThreadPoolExecutor(2) as pool:
        for migrated in [pool.submit(store.migrate, SLOW) for store in (one, other)]:
            migrated.result()
        with one.read() as connection:
            assert version_of(connection) == (SLOW.version, CURRENT.version)
        # Afterwards they hold again, on the same connection too.
        for store in (one, other):
            with pytest.raises(sqlalchemy.exc.OperationalError), store.write() as connection:
                connection.exec_driver_sql("SELECT pg_sleep(3)")


def test_beside_an_older_version_at_work_only_what_it_can_bear_is_migrated(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UICI_TEST_POSTGRES", server.database("").rstrip("/"))
    config = site(tmp_path / "site", "web", platform="runs: {takeover_seconds: 5}\n")
    with running(config, World()) as older, opened(state_beside(config)) as newer:
        with pytest.raises(Problem) as refused:
            newer.migrate(BREAKING)
        assert refused.value.code == "state_in_use"
        assert "of an older version works on this state" in refused.value.detail
        newer.migrate(ADDITIVE)
        assert older.control.ready()["ok"]
        assert closed(older, send(older, alert("web"), alert("web", status="resolved")))["state"] == "closed"
        with older.store.read() as connection:
            assert version_of(connection) == (ADDITIVE.version, CURRENT.version)
    with running(config, World()) as older:
        assert older.control.ready()["ok"], "the older one starts again on the newer schema"
