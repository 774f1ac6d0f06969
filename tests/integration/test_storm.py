"""A storm in small: every alert that was accepted is accounted for. The large one is `make bench`."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.storm import storm


def test_every_alert_of_a_storm_ends_in_exactly_one_state(tmp_path: Path) -> None:
    found = storm(tmp_path, alerts=500, targets=50, connections=8, patience=160)
    assert found.unended == 0
    assert found.accounted == sum(found.ended.values()) == found.sent == 500
    assert found.incidents >= 50
    assert len(found.answers) == 50
