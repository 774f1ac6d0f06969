"""Backups of a state in use, and putting one back: complete, for its owner only, and nothing is done twice."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import (
    DEADLINE,
    POLICIES,
    alert,
    closed,
    ended,
    incident_of,
    run_of,
    running,
    send,
    site,
    state_beside,
    told,
)
from tests.newer_schema import BREAKING
from tests.real.disk import small_disk
from tests.real.postgres import Postgres, postgres
from tests.waiting import until
from uici.bootstrap import back_up, restore, safekeeping
from uici.model.call import Call
from uici.model.errors import Problem
from uici.store.clock import ServiceClock
from uici.store.database import Store
from uici.store.schema import approvals, incidents, runs

STRATEGIES = """
strategies:
  asks:
    match: ['alertname="Asks"']
    remedies:
      - {name: stop, steps: [stop_service], verify: {within: 0.1, stable_for: 0, confirm_within: 0, interval: 0.05}}
  down:
    match: ['alertname="Down"']
    remedies:
      - name: restart
        steps: [restart_service]
        verify: {within: 5, stable_for: 0, confirm_within: 0, interval: 0.05}
"""
ASKING = POLICIES + "risk: {auto_approve_up_to: medium}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], str]:
    """The URL of the state that the rig gives to a configuration."""
    if request.param == "postgresql":
        server = request.getfixturevalue("server")
        monkeypatch.setenv("UICI_TEST_POSTGRES", server.database("").rstrip("/"))
    return state_beside


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return site(tmp_path / "site", "web", "api", "db", strategies=STRATEGIES, policies=ASKING)


def test_a_backup_beside_a_running_uici_is_whole_and_for_its_owner_only(
    tmp_path: Path, config: Path, world: World, state: Callable[[Path], str]
) -> None:
    file = tmp_path / "copy"
    with running(config, world) as application:
        kept = closed(application, send(application, alert("web"), alert("web", status="resolved")))["id"]
        stop = threading.Event()

        def alerts_come() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                send(application, alert("api", f"Noise{number}"))

        noise = threading.Thread(target=alerts_come)
        noise.start()
        try:
            done = back_up(config, state(config), file)
        finally:
            stop.set()
            noise.join(DEADLINE)
        with pytest.raises(Problem) as refused:
            back_up(config, state(config), file)
        assert refused.value.code == "file_exists"
        with pytest.raises(Problem) as in_use:
            restore(config, state(config), file)
        assert in_use.value.code == "state_in_use"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert done["bytes"] == file.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == ["copy"]
    restore(config, state(config), file)
    with running(config, world) as application:
        assert application.control.incident(kept)["state"] == "closed"


def test_after_a_restore_nothing_that_was_under_way_goes_on_and_people_are_told(
    tmp_path: Path, config: Path, world: World, state: Callable[[Path], str]
) -> None:
    file = tmp_path / "copy"
    sent, go_on = threading.Event(), threading.Event()

    def stuck(moment: str, environment: str, call: Call) -> None:
        if moment == "before" and call.name == "program.restart":
            sent.set()
            go_on.wait(DEADLINE)

    world.hook = stuck
    with running(config, world) as application:
        acting = send(application, alert("web"))
        asking = send(application, alert("api", "Asks"))
        until(sent.is_set, "the call on its way")
        until(lambda: run_of(application, asking)["stage"] == "approval", "the question")
        back_up(config, state(config), file)
        # What happens after the backup: the call is carried out, the question answered, another alert healed.
        go_on.set()
        assert closed(application, acting)["outcome"] == "healed"
        question = run_of(application, asking)
        application.control.approve(question["id"], question["cid"], "ann#1", "")
        ended(application, question["id"])
        later = closed(application, send(application, alert("db"), alert("db", status="resolved")))
    done_before = list(world.done)
    assert len(world.changes("web")) == 1
    assert len(world.changes("api")) == 1
    world.hook = lambda moment, environment, call: None

    shown = restore(config, state(config), file)
    assert shown["escalated_runs"] == 2
    assert shown["replaced"] is not None
    with running(config, world) as application:
        for accepted in (acting, asking):
            incident = closed(application, accepted)
            assert incident["outcome"] == "escalated"
            assert "restored from a backup of 20" in incident["reason"]
        with pytest.raises(Problem) as refused:
            application.control.approve(question["id"], question["cid"], "ann#1", "")
        assert refused.value.code == "already_decided"
        assert application.control.freeze_state()["frozen"]
        with pytest.raises(Problem):
            application.control.incident(later["id"])
        # An alert whose handling came after the backup is new to it: it acts on none before somebody has looked.
        again = closed(application, send(application, alert("db")))
        assert again["outcome"] == "refused"
        titles = [message["title"] for message in told(application)]
        assert sum("restored from a backup" in title for title in titles) == 1
        assert sum("on web" in title for title in titles) == 1
    assert world.done == done_before, "nothing was done again"


def test_a_restore_that_is_cut_off_is_finished_by_the_next_start(tmp_path: Path, config: Path, world: World) -> None:
    file = tmp_path / "copy"
    url = f"sqlite:///{config.parent / 'state' / 'uici.db'}"
    with running(config, world) as application:
        asking = send(application, alert("api", "Asks"))
        until(lambda: run_of(application, asking)["stage"] == "approval", "the question")
        back_up(config, url, file)
    store = Store(url)
    safekeeping._put_back_file(store, file, datetime.now(UTC))  # and then the power goes
    store.close()
    with running(config, world) as application:
        assert closed(application, asking)["outcome"] == "escalated"
        assert application.control.freeze_state()["frozen"]
    with running(config, world) as application:
        application.control.freeze(False, "ann#1", "looked")
    with running(config, world) as application:
        assert not application.control.freeze_state()["frozen"], "once is enough"
        with application.store.read() as connection:
            assert connection.execute(select(approvals.c.state)).scalars().all() == ["withdrawn"]


def test_what_a_restore_replaces_is_kept_and_can_be_put_back(
    tmp_path: Path, config: Path, world: World, state: Callable[[Path], str]
) -> None:
    file = tmp_path / "copy"
    with running(config, world) as application:
        closed(application, send(application, alert("web"), alert("web", status="resolved")))
        back_up(config, state(config), file)
        later = closed(application, send(application, alert("db"), alert("db", status="resolved")))["id"]
    first = restore(config, state(config), file)
    kept = Path(str(first["replaced"]))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    restore(config, state(config), kept)
    with running(config, world) as application:
        assert application.control.incident(later)["state"] == "closed"


def test_what_is_no_sound_backup_or_a_newer_one_is_refused_and_nothing_changes(
    tmp_path: Path, config: Path, world: World, state: Callable[[Path], str]
) -> None:
    file = tmp_path / "copy"
    with running(config, world) as application:
        incident = closed(application, send(application, alert("web"), alert("web", status="resolved")))["id"]
        back_up(config, state(config), file)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    nothing = tmp_path / "nothing"
    nothing.write_text("no backup\n")
    newer = _newer(tmp_path, state)
    for wrong, codes in (
        (damaged, {"state_damaged", "dump_failed"}),
        (nothing, {"state_damaged", "dump_failed"}),
        (newer, {"state_is_newer"}),
        (tmp_path / "missing", {"no_such_file"}),
    ):
        with pytest.raises(Problem) as refused:
            restore(config, state(config), wrong)
        assert refused.value.code in codes, wrong
    with running(config, world) as application:
        assert application.control.incident(incident)["state"] == "closed"
        assert not application.control.freeze_state()["frozen"]


def _newer(tmp_path: Path, state: Callable[[Path], str]) -> Path:
    """A backup of a state that a newer version has left this one behind with."""
    (tmp_path / "state").mkdir(exist_ok=True)
    store = Store(state(tmp_path / "other" / "site"))
    store.migrate()
    store.migrate(BREAKING)
    safekeeping.back_up_store(store, tmp_path / "newer", ServiceClock())
    store.close()
    return tmp_path / "newer"


@pytest.mark.component("tmpfs")
def test_a_full_disk_leaves_no_half_backup(tmp_path: Path, config: Path, world: World) -> None:
    url = f"sqlite:///{config.parent / 'state' / 'uici.db'}"
    with running(config, world) as application, small_disk(tmp_path / "disk", "1m") as disk:
        send(application, alert("web"))
        with pytest.raises(Problem) as refused:
            back_up(config, url, disk.folder / "copy")
        assert refused.value.code == "no_room_for_a_copy"
        assert list(disk.folder.iterdir()) == []


def test_no_secret_is_an_argument_of_a_program(
    tmp_path: Path, config: Path, world: World, monkeypatch: pytest.MonkeyPatch, server: Postgres
) -> None:
    """The programs get the password as UICI itself does: from the environment."""
    monkeypatch.setenv("UICI_TEST_POSTGRES", server.database("").rstrip("/"))
    with running(config, world) as application:
        send(application, alert("web"))
    seen = tmp_path / "seen"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "$0 $*" >> {seen}\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PGPASSWORD", "canary-8d1f")
    file = tmp_path / "copy"
    back_up(config, state_beside(config), file)
    assert "pg_dump" in seen.read_text()
    assert "canary-8d1f" not in seen.read_text()
    assert b"canary-8d1f" not in file.read_bytes()


def test_a_backup_opens_with_plain_sqlite(tmp_path: Path, config: Path, world: World) -> None:
    url = f"sqlite:///{config.parent / 'state' / 'uici.db'}"
    with running(config, world) as application:
        incident = incident_of(application, send(application, alert("web")))["id"]
        back_up(config, url, tmp_path / "copy")
        with application.store.read() as connection:
            assert connection.execute(select(func.count()).select_from(incidents)).scalar_one() == 1
    with closing(sqlite3.connect(f"file:{tmp_path / 'copy'}?mode=ro", uri=True)) as copy:
        assert copy.execute("SELECT id FROM incidents").fetchall() == [(incident,)]
        assert copy.execute(f"SELECT count(*) FROM {runs.name}").fetchone() == (1,)
