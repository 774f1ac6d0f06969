"""kill -9 between a verdict and its outcome: each rung has one outcome afterwards, with the verdict that was given."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crashing import BOUNDARY
from tests.e2e.local_ground import local_ground, program
from tests.e2e.server import Server, alert, payload
from tests.real.components import REPOSITORY
from tests.waiting import until

ENTRY = "from tests.e2e.crashing import main; main()"
VERIFY = {"stable_for": 0.1, "confirm_within": 0, "interval": 0.1}
LADDER: list[dict[str, Any]] = [
    # Stopping heals nothing; with this prior it comes first all the same, all but surely.
    {
        "name": "hopeless",
        "alternative": "revive",
        "prior": {"good": 100, "bad": 0.5},
        "steps": ["stop_service"],
        "verify": {"within": 0.4, **VERIFY},
    },
    {
        "name": "good",
        "alternative": "revive",
        "prior": {"good": 0.5, "bad": 100},
        "steps": ["restart_service"],
        "verify": {"within": 30, **VERIFY},
    },
]


def outcomes(config: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(config / "state" / "uici.db") as connection:
        return connection.execute(
            "SELECT o.run_id, o.rung, o.remedy, o.reward, c.document IS NOT NULL FROM outcomes o"
            " LEFT JOIN choices c ON c.run_id = o.run_id AND c.rung = o.rung ORDER BY o.rung"
        ).fetchall()


@pytest.mark.parametrize("boundary", ["next:before", "next:after", "close:before"])
def test_no_outcome_is_lost_or_doubled(boundary: str, tmp_path: Path) -> None:
    strategy = {"match": ['alertname="Broken"'], "diagnose": ["get_service_status"], "remedies": LADDER}
    policies = {"autonomy": "auto", "cooldown": {"seconds": 0}, "risk": {"auto_approve_up_to": "high"}}
    targets = {"web": program("web")}
    with local_ground(tmp_path, targets, strategies={"strategies": {"broken": strategy}}, policies=policies) as ground:
        config = ground.uici.config
        ground.start("web")
        ground.uici.stop()
        server = Server(config, entry=ENTRY)
        try:
            server.start({BOUNDARY: boundary, "PYTHONPATH": str(REPOSITORY)})
            accepted = server.send(payload(alert("Broken", "web", fingerprint=secrets.token_hex(8))))
            assert accepted.status_code == 202, accepted.text
            until(lambda: server.process.poll() is not None, f"the crash at {boundary}", server.tail)
            assert server.process.returncode == -9, server.tail()
            server.start({"PYTHONPATH": str(REPOSITORY)})
            incident = server.get(f"/incidents/{accepted.json()['incidents'][0]['id']}")
            run = server.ended(incident["run"])
            assert run["outcome"] == "healed", server.explain(run["id"])
            assert outcomes(config) == [(run["id"], 1, "hopeless", 0.0, 1), (run["id"], 2, "good", 1.0, 1)]
        finally:
            server.stop()
            server.http.close()
