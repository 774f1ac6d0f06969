"""The disk under the state runs full on a real file system: refused honestly, nothing sent, and nothing lost after."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local_ground import LocalGround, local_ground, program
from tests.e2e.server import Server, alert, payload
from tests.real.disk import SmallDisk, small_disk
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.model.base import JsonObject

pytestmark = pytest.mark.component("tmpfs")
MEBIBYTE = 1_048_576


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


STRATEGIES: JsonObject = {
    "strategies": {
        "down": {
            "match": ['alertname="Down"'],
            "remedies": [
                {
                    "name": "later",
                    "steps": [{"operation": "wait", "parameters": {"seconds": 3}}, "start_service"],
                    "verify": {"within": 30, "stable_for": 0.2, "confirm_within": 0, "interval": 0.2},
                }
            ],
        },
        "asks": {"match": ['alertname="Asks"'], "remedies": [{"name": "stop", "steps": ["stop_service"]}]},
    }
}


@pytest.fixture
def ground(tmp_path: Path, disk: SmallDisk) -> Iterator[LocalGround]:
    targets = {"web": program("web"), "db": program("db")}
    policies: JsonObject = {"autonomy": "auto", "cooldown": {"seconds": 0}, "risk": {"auto_approve_up_to": "medium"}}
    state = f"sqlite:///{disk.folder / 'uici.db'}"
    with local_ground(tmp_path, targets, platform={"state": state}, policies=policies, strategies=STRATEGIES) as ground:
        try:
            yield ground
        finally:
            ground.uici.stop()
            end_supervisors(disk.folder)


def firing(name: str, target: str, fingerprint: str) -> JsonObject:
    return payload(alert(name, target, fingerprint=fingerprint))


def state_check(uici: Server) -> tuple[int, JsonObject]:
    answer = uici.http.get("/readyz")
    (state,) = [check for check in answer.json()["checks"] if check["name"] == "state"]
    return answer.status_code, state


def test_a_full_disk_refuses_sends_nothing_and_goes_on_when_space_returns(ground: LocalGround, disk: SmallDisk) -> None:
    uici = ground.uici
    accepted = uici.send(firing("Down", "web", "f1"))
    assert accepted.status_code == 202
    (incident,) = accepted.json()["incidents"]
    run = uici.get(f"/incidents/{incident['id']}")["run"]
    until(lambda: uici.get(f"/runs/{run}")["waiting_for"] == "wait", "the run's pause", uici.tail)
    disk.fill()
    refused = uici.send(firing("Down", "db", "f2"))
    assert refused.status_code == 503, refused.text
    assert int(refused.headers["Retry-After"]) >= 1
    status, state = state_check(uici)
    assert (status, state["ok"]) == (503, False)
    assert "full" in state["detail"], state
    # The pause of the run is over by now; it cannot announce its call, so it does not send it.
    time.sleep(5)
    assert ground.process("web") is None
    assert uici.process.poll() is None
    assert uici.get(f"/runs/{run}")["state"] != "ended"
    assert uici.send(firing("Down", "db", "f2")).status_code == 503
    disk.free()
    until(lambda: state_check(uici)[0] == 200, "readiness without a restart", uici.tail)
    again = uici.send(firing("Down", "db", "f2"))
    assert again.status_code == 202
    assert uici.ended(run)["outcome"] == "healed", uici.explain(run)
    other = uici.get(f"/incidents/{again.json()['incidents'][0]['id']}")["run"]
    assert uici.ended(other)["outcome"] == "healed", uici.explain(other)
    for target in ("web", "db"):
        assert ground.process(target) is not None
        assert ground.spawned_in(disk.folder, target) == 1
    assert os.path.exists(disk.folder / "uici.db")
