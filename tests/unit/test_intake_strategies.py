"""What is remembered of an alert's strategy is what asking the site says, whatever came before."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import product

import pytest

from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.intake import strategies
from uici.intake.strategies import StrategyIndex
from uici.model.alert import HEARTBEAT_MISSING, Alert, AlertStatus

NAMES = ("Watchdog", HEARTBEAT_MISSING, "ContainerDown", "HighMemory", "NothingKnown", "x" * 2000, "")
LABELS: tuple[dict[str, str], ...] = (
    {},
    {"severity": "critical"},
    {"severity": "none"},
    {"pod": "web-1", "namespace": "shop"},
)


def alert(name: str, labels: dict[str, str]) -> Alert:
    return Alert(
        fingerprint="f",
        status=AlertStatus.FIRING,
        labels={"alertname": name, **labels} if name else labels,
        annotations={},
        starts_at=datetime(2026, 1, 1, tzinfo=UTC),
        ends_at=None,
        generator_url="",
    )


@pytest.mark.parametrize("most", [4096, 2])
def test_the_same_strategy_as_the_site_says(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(strategies, "_MOST", most)
    site = load_site(None, executors=discover_executors())
    named = {matcher.value for strategy in site.strategies.values() for matcher in strategy.match}
    index = StrategyIndex(site)
    alerts = [alert(name, labels) for name, labels in product((*NAMES, *sorted(named)), LABELS)] * 2
    random.Random(1).shuffle(alerts)
    found = [index.of(site, each) for each in alerts]
    assert found == [site.strategy_for(each) for each in alerts]
    assert any(found)
    assert None in found
    assert all(sum(map(len, filter(None, key))) <= 1024 for key in index._found)
    assert len(index._found) <= most
