"""A call that had to wait for the state's other writers is announced late, and sent all the same."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import LADDER, alert, closed, running, send, site
from tests.real.postgres import postgres
from uici.model.call import Call
from uici.store.postgres import WRITERS
from uici.store.schema import attempts

pytestmark = pytest.mark.component("postgres")


def test_waiting_for_other_writers_does_not_make_a_call_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres() as server:
        monkeypatch.setenv("UICI_TEST_POSTGRES", server.url.rpartition("/")[0])
        world = World()
        ladder = LADDER.replace("confirm_within: 60", "confirm_within: 0")
        # Long enough that a busy machine alone makes no call late.
        config = site(tmp_path / "site", "web", strategies=ladder, platform="runs: {takeover_seconds: 60}\n")
        with running(config, world) as application:
            application.services.workers.latest_sending = 6.0
            database = application.store.place
            other = psycopg.connect(database, autocommit=True)

            def let_go() -> None:
                other.close()

            def hook(moment: str, environment: str, call: Call) -> None:
                if moment == "before" and call.mutates and not other.closed:
                    other.execute("SELECT pg_advisory_lock(%s)", [WRITERS])
                    threading.Timer(application.services.workers.latest_sending + 1, let_go).start()

            world.hook = hook
            assert closed(application, send(application, alert("web")))["outcome"] == "healed"
            with application.store.read() as connection:
                outcomes = [row.outcome for row in connection.execute(select(attempts).order_by(attempts.c.number))]
    assert outcomes == ["done"]
    assert world.changes("web") == ["program.restart"]
