"""`alert_fires` against the real server: what its ALERTS series and its rules really look like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.prometheus import Prometheus as RealPrometheus
from tests.real.prometheus import prometheus
from tests.unit.sites import alert
from tests.waiting import until
from uici.model.servers import Prometheus
from uici.monitoring.prometheus import PrometheusClient
from uici.verification.prometheus import alert_fires

RULES = r"""
groups:
- name: g
  rules:
  - {alert: Firing, expr: 'vector(1) == 1', labels: {service: 'we"ird\va{l}ue'}}
  - {alert: 'Odd "name" \ here', expr: 'vector(1) == 1'}
  - {alert: Silent, expr: 'vector(0) == 1'}
  - {alert: Pending, expr: 'vector(1) == 1', for: 1h}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    directory: Path = tmp_path_factory.mktemp("prometheus")
    with prometheus(directory, rules=RULES) as real:
        until(lambda: len({item["labels"]["alertname"] for item in real.alerts()}) == 3, "the rules to be evaluated")
        until(lambda: real.query('ALERTS{alertname="Firing"}'), "the series of the alert")
        yield real


@pytest.mark.component("prometheus")
@pytest.mark.parametrize(
    ("labels", "fires"),
    [
        ({"alertname": "Firing", "service": 'we"ird\\va{l}ue', "cluster": "added on the way"}, True),
        ({"alertname": "Firing", "service": "another"}, False),
        ({"alertname": 'Odd "name" \\ here'}, True),
        ({"alertname": "Silent"}, False),
        ({"alertname": "Pending"}, False),
        ({"alertname": "NoSuchRule"}, None),
    ],
)
def test_what_the_real_server_says(server: RealPrometheus, labels: dict[str, str], fires: bool | None) -> None:
    assert alert_fires(PrometheusClient(Prometheus(url=server.url, timeout=30)), alert(**labels)) is fires
