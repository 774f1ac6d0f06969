"""The state file is deleted or replaced under a running server: nothing is accepted that would be lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import Server, alert, payload, write_site
from tests.waiting import until


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(write_site(tmp_path / "site"))


def refused(server: Server) -> httpx.Response:
    answer = server.send(payload(alert("Down", "nothing", fingerprint="f2")))
    assert answer.status_code == 503, answer.text
    assert "Retry-After" in answer.headers
    return answer


def test_a_deleted_state_is_noticed_and_a_restart_begins_a_new_one(server: Server) -> None:
    with server:
        assert server.send(payload(alert("Down", "nothing", fingerprint="f1"))).status_code == 202
        shutil.rmtree(server.config / "state")
        refused(server)
        ready = server.http.get("/readyz")
        assert ready.status_code == 503
        (state,) = [check for check in ready.json()["checks"] if check["name"] == "state"]
        assert "restart UICI" in state["detail"]
        server.stop()
        server.start()
        assert server.http.get("/readyz").json()["ok"]


def test_a_replaced_state_is_noticed(server: Server) -> None:
    database = server.config / "state" / "uici.db"
    with server:
        until(server.ready, "readiness")
        shutil.copy(database, database.with_suffix(".copy"))
        database.with_suffix(".copy").replace(database)
        refused(server)
        assert "replaced" in str(server.http.get("/readyz").json())
