"""The clock of one replica is wrong by an hour: nothing expires early, rests too long, or comes out of order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.replicas import fire, replicas
from tests.real.components import faketime_library
from tests.real.postgres import postgres
from tests.waiting import until

pytestmark = [pytest.mark.component("postgres"), pytest.mark.component("faketime"), pytest.mark.timeout(240)]
SLACK = timedelta(minutes=10)


@pytest.mark.parametrize("offset", ["+3600", "-3600"])
def test_a_clock_that_is_wrong_by_an_hour_matters_to_nobody(offset: str, tmp_path: Path) -> None:
    wrong = {"LD_PRELOAD": str(faketime_library()), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with postgres() as database, replicas(tmp_path, database, "web", "db", "mail") as fleet:
        right, skewed = fleet.add(), fleet.add(wrong)
        question = fire(skewed, "mail", "Asks")
        run = until(lambda: skewed.get(f"/incidents/{question}")["run"], "its run")
        until(lambda: right.get(f"/runs/{run}")["waiting_for"] == "approval", "the question", right.tail)
        for server, target in ((skewed, "web"), (right, "db"), (skewed, "db")):
            healed = fleet.ended(fire(server, target), right)
            assert healed["outcome"] == "healed", right.explain(healed["id"])
        assert right.get(f"/runs/{run}")["waiting_for"] == "approval", "the question has expired early"
        assert len(fleet.alive(right)) == 2
        now = datetime.now(UTC)
        incidents = skewed.get("/incidents")["incidents"]
        for incident in incidents:
            opened = datetime.fromisoformat(incident["opened_at"])
            assert now - SLACK < opened < now + SLACK
        # In the order in which they were sent, whichever of the two wrote them down.
        opened_at = [incident["opened_at"] for incident in sorted(incidents, key=lambda one: one["id"])]
        assert opened_at == sorted(opened_at)
