"""The machine's clock jumps on by an hour under a running server: nothing lost, nothing stuck.

Set back it is in tests/integration/test_clock_set_back.py: libfaketime 0.9.10 spoils the sleeps of a process then.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.local_ground import program
from tests.e2e.server import Server, alert, payload, write_site
from tests.real.components import faketime_library
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.model.base import JsonObject

pytestmark = [pytest.mark.component("faketime"), pytest.mark.timeout(240)]
STRATEGIES: JsonObject = {
    "strategies": {
        "down": {
            "match": ['alertname="Down"'],
            "remedies": [
                {
                    "name": "start",
                    "steps": ["start_service"],
                    "verify": {"within": 30, "stable_for": 0.2, "confirm_within": 0, "interval": 0.2},
                }
            ],
        },
        "asks": {"match": ['alertname="Asks"'], "remedies": [{"name": "start", "steps": ["start_service"]}]},
    }
}
POLICIES: JsonObject = {
    "autonomy": "auto",
    "cooldown": {"seconds": 3},
    "risk": {"auto_approve_up_to": "medium"},
    "approval": {"expires_seconds": 600},
}


class Clock:
    """The server's clock, by libfaketime: what stands in a file is added. Monotonic time goes on as it does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump("+0")

    def jump(self, offset: str) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{offset}\n")
        beside.replace(self._file)

    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def uici(tmp_path: Path, clock: Clock) -> Iterator[Server]:
    targets = {"web": program("web"), "db": program("db"), "mail": program("mail", autonomy="approve")}
    config = write_site(tmp_path / "site", targets={"targets": targets}, strategies=STRATEGIES, policies=POLICIES)
    server = Server(config)
    try:
        server.start(clock.environment())
        yield server
    finally:
        server.stop()
        server.http.close()
        end_supervisors(config)


def incident(uici: Server, name: str, target: str, fingerprint: str) -> str:
    answer = uici.send(payload(alert(name, target, fingerprint=fingerprint)))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["incidents"][0]["id"])


def healed(uici: Server, incident_id: str) -> JsonObject:
    run = uici.get(f"/incidents/{incident_id}")["run"]
    ended = uici.ended(run)
    assert ended["outcome"] == "healed", uici.explain(run)
    return ended


def asked(uici: Server, fingerprint: str) -> JsonObject:
    """A question to people, still open."""
    run = uici.get(f"/incidents/{incident(uici, 'Asks', 'mail', fingerprint)}")["run"]
    until(lambda: uici.get(f"/runs/{run}")["waiting_for"] == "approval", "the question", lambda: uici.explain(run))
    found: JsonObject = uici.get(f"/runs/{run}")
    return found


def now_of(uici: Server) -> datetime:
    answer = uici.http.get("/healthz")
    return datetime.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)


def test_an_hour_on(uici: Server, clock: Clock) -> None:
    healed(uici, incident(uici, "Down", "web", "f1"))
    question = asked(uici, "f2")
    clock.jump("+1h")
    until(lambda: now_of(uici) > datetime.now(UTC) + timedelta(minutes=50), "the jump")
    assert uici.http.get("/readyz").status_code == 200
    # What people were promised by the clock on the wall is over by it, and nothing was done.
    ended = uici.ended(question["id"])
    assert (ended["outcome"], ended["calls"]) == ("refused", [])
    assert "approval_expired" in ended["reason"]
    healed(uici, incident(uici, "Down", "db", "f3"))
    healed(uici, incident(uici, "Down", "web", "f4"))
