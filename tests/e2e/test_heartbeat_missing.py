"""A real Alertmanager that dies is missed by a UICI of its own process, once, and is welcome back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.server import Server, write_site
from tests.real.alertmanager import Alertmanager, alertmanager
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

WATCHDOG = {"labels": {"alertname": "Watchdog", "severity": "none", "prometheus": "monitoring/k8s"}}


def paced(config: Path) -> bool:
    """Whether UICI has understood that this is a heartbeat."""
    with closing(sqlite3.connect(f"file:{config / 'state' / 'uici.db'}?mode=ro", uri=True)) as state:
        return bool(state.execute("select count(*) from heartbeats where paced").fetchone() == (1,))


@pytest.mark.component("alertmanager")
def test_a_dead_alertmanager_is_an_incident_until_it_delivers_again(tmp_path: Path) -> None:
    strategies: JsonObject = {
        "pulse": {"match": ['alertname="Watchdog"'], "action": "heartbeat", "within_seconds": 6},
        "pulse_missing": {"match": ['alertname="HeartbeatMissing"'], "action": "escalate"},
    }
    config = write_site(tmp_path / "site", strategies={"strategies": strategies})
    token = tmp_path / "token"
    uici = Server(config)
    token.write_text(uici.tokens[Role.ALERTMANAGER])
    text = Alertmanager.config_for(
        f"{uici.url}/webhooks/alertmanager", token_file=token, group_interval="1s", repeat_interval="1s"
    )

    def absences() -> list[JsonObject]:
        return [uici.get(f"/incidents/{item['id']}") for item in uici.get("/incidents")["incidents"]]

    with uici:
        with alertmanager(tmp_path / "alertmanager", text) as server:
            server.post_alerts([WATCHDOG])
            until(lambda: paced(config), "the second beat", uici.tail)
            assert absences() == []
        until(lambda: bool(absences()), "the absence", uici.tail)
        # A process that was killed remembers what it missed, and does not miss it twice.
        uici.kill()
        uici.start()
        (missing,) = absences()
        (alert,) = missing["alerts"]
        assert (alert["status"], alert["labels"]["prometheus"]) == ("firing", "monitoring/k8s")
        with alertmanager(tmp_path / "alertmanager", text) as server:
            server.post_alerts([WATCHDOG])
            until(lambda: absences()[0]["alerts"][0]["status"] == "resolved", "the return", uici.tail)
        assert len(absences()) == 1
