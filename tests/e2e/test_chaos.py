"""A short round of `make chaos`: three replicas, faults of all kinds, and nothing lost or done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.rounds import SETTINGS, MemoryServices, Round, run
from tests.real.postgres import postgres

pytestmark = [pytest.mark.component("postgres"), pytest.mark.timeout(900)]


def test_nothing_is_lost_or_done_twice_while_faults_fall(tmp_path: Path) -> None:
    services = MemoryServices(tmp_path, seed=7)
    try:
        with postgres(**SETTINGS) as database:
            verdict = run(tmp_path, Round(seed=7, alerts=30, targets=20, pace=3.0), services, database)
    finally:
        services.close()
    shown = json.dumps(verdict, indent=1)
    assert verdict["violations"] == [], shown
    assert verdict["failures"] == [], shown
    # A round in which nothing happened would prove nothing.
    assert verdict["alerts_accepted"] == 30, shown
    assert verdict["mutating_calls"] > 0, shown
    assert sum(verdict["faults"].values()) > 0, shown
