from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.sites import NOW, alert
from uici.model.plan import VerifySettings
from uici.model.servers import Prometheus
from uici.model.verdict import Verdict
from uici.monitoring.prometheus import PrometheusClient
from uici.verification.judging import HealthTrack, judge
from uici.verification.prometheus import alert_fires

SETTINGS = VerifySettings(within=10, stable_for=3, confirm_within=20)


def _at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def _judge(
    looks: dict[float, bool | None], *, now: float | None = None, firing: bool | None = None,
    settings: VerifySettings = SETTINGS,
) -> Verdict | None:  # fmt: skip
    return judge(
        settings,
        started_at=NOW,
        now=_at(now if now is not None else max(looks, default=0)),
        health_history=[(_at(seconds), healthy) for seconds, healthy in looks.items()],
        alert_firing=firing,
    )


@pytest.mark.parametrize(
    ("looks", "firing", "verdict"),
    [
        ({}, None, None),
        ({0: False, 9: False}, None, None),
        ({0: False, 10: False}, None, Verdict.INEFFECTIVE),
        ({0: True, 2.9: True}, False, None),
        ({0: True, 3: True}, False, Verdict.EFFECTIVE),
        ({0: True, 3: True}, True, None),
        ({0: True, 3: True}, None, None),
        ({0: True, 1: False, 3: True}, False, None),
        ({0: True, 1: None, 3: True}, False, None),
        ({0: True, 1: None, 3: True, 6: True}, False, Verdict.EFFECTIVE),
        ({9: True, 11: True}, False, None),  # healthy in time, still to prove that it lasts
        ({9: True, 12: True}, False, Verdict.EFFECTIVE),
        ({9: True, 11: False}, False, Verdict.INEFFECTIVE),
        ({10: True, 12: True}, False, None),  # the last moment of `within` is still in time
        ({11: True, 14: True}, False, Verdict.EFFECTIVE),  # late, but nobody looked and judged in between
        ({5: False, 11: True}, False, Verdict.INEFFECTIVE),
        ({0: True, 3: True, 15: False}, True, Verdict.INEFFECTIVE),
        ({0: True, 3: True, 20: True}, True, Verdict.INCONCLUSIVE),
        ({0: True, 3: True, 20: True}, None, Verdict.INCONCLUSIVE),
        ({0: True, 3: True, 19.9: True}, True, None),
        ({0: True, 3: True, 20: True}, False, Verdict.EFFECTIVE),
    ],
)
def test_verdicts(looks: dict[float, bool | None], firing: bool | None, verdict: Verdict | None) -> None:
    assert _judge(looks, firing=firing) is verdict


def test_health_that_nobody_could_read_proves_neither_success_nor_failure() -> None:
    assert _judge({0: None, 9: None}) is None
    assert _judge({0: None, 10: None}) is Verdict.INCONCLUSIVE
    assert _judge({0: True, 10: None}) is Verdict.INCONCLUSIVE
    assert _judge({0: False, 10: None}) is Verdict.INEFFECTIVE
    assert _judge({}, now=10) is Verdict.INCONCLUSIVE


def test_a_verdict_comes_although_nobody_looks_any_more() -> None:
    assert _judge({9: True}, now=21) is None
    assert _judge({9: True}, now=22) is Verdict.INCONCLUSIVE


def test_silence_is_not_awaited_when_the_rule_says_so() -> None:
    settings = SETTINGS.model_copy(update={"confirm_within": 0})
    assert _judge({0: True, 3: True}, firing=True, settings=settings) is Verdict.EFFECTIVE
    assert _judge({0: True, 2: True}, firing=False, settings=settings) is None


def test_without_stable_time_one_healthy_look_suffices() -> None:
    settings = VerifySettings(within=10, stable_for=0)
    assert _judge({0: True}, firing=False, settings=settings) is Verdict.EFFECTIVE


def test_the_track_of_health_survives_being_stored() -> None:
    track = HealthTrack().seen(_at(0), False).seen(_at(1), True).seen(_at(2), True)
    again = HealthTrack.model_validate_json(track.model_dump_json())
    assert again == track
    assert again.seen(_at(4), True).stable(SETTINGS)
    assert not track.stable(SETTINGS)


# --- Prometheus: a real HTTP server stands for the process at the boundary ---


class _Prometheus:
    def __init__(self) -> None:
        self.series: list[dict[str, str]] = []
        self.query: Any = None
        self.rules: Any = _rules(_rule())
        self.status = 200
        self.rules_status = 200
        self.asked: list[tuple[str, dict[str, list[str]], str | None]] = []
        self.url = ""

    def answer(self, path: str, parameters: dict[str, list[str]], token: str | None) -> tuple[int, Any]:
        self.asked.append((path, parameters, token))
        if path == "/prom/api/v1/rules":
            return self.rules_status, self.rules
        metrics = [{"__name__": "ALERTS", "alertstate": "firing", **labels} for labels in self.series]
        result = [{"metric": metric, "value": [0, "1"]} for metric in metrics]
        usual = {"status": "success", "data": {"resultType": "vector", "result": result}}
        return self.status, usual if self.query is None else self.query


def _rule(name: str = "Down", health: str = "ok") -> dict[str, str]:
    return {"type": "alerting", "name": name, "health": health}


def _rules(*rules: dict[str, str]) -> dict[str, Any]:
    return {"status": "success", "data": {"groups": [{"rules": list(rules)}]}}


@contextmanager
def _serving(prometheus: _Prometheus) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, document = prometheus.answer(parts.path, parse_qs(parts.query), self.headers.get("Authorization"))
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        prometheus.url = f"http://127.0.0.1:{server.server_address[1]}/prom/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def prometheus() -> Iterator[_Prometheus]:
    double = _Prometheus()
    with _serving(double):
        yield double


def _fires(prometheus: _Prometheus, credentials: dict[str, Any] | None = None, **labels: str) -> bool | None:
    settings = Prometheus(url=prometheus.url, timeout=20, **(credentials or {}))
    return alert_fires(PrometheusClient(settings), alert(**{"alertname": "Down", **labels}))


def test_a_series_is_the_alert_when_the_alert_has_all_its_labels(prometheus: _Prometheus) -> None:
    prometheus.series = [{"alertname": "Down", "instance": "a"}]
    # `cluster` is an external label: Prometheus adds it on the way to Alertmanager only.
    assert _fires(prometheus, instance="a", cluster="east") is True
    assert _fires(prometheus, instance="b", cluster="east") is False
    assert _fires(prometheus) is False


def test_silence_counts_only_while_the_rule_is_evaluated(prometheus: _Prometheus) -> None:
    assert _fires(prometheus) is False
    for rules in (
        [],
        [_rule("Other")],
        [_rule(health="err")],
        [_rule(health="unknown")],
        [_rule(), _rule(health="err")],
    ):
        prometheus.rules = _rules(*rules)
        assert _fires(prometheus) is None
    prometheus.rules_status = 404
    assert _fires(prometheus) is False
    prometheus.rules_status = 500
    assert _fires(prometheus) is None


@pytest.mark.parametrize("name", ['a"} or vector(1) #', "back\\slash", "line\nbreak", "tab\t", "ünï"])
def test_names_are_quoted(prometheus: _Prometheus, name: str) -> None:
    _fires(prometheus, alertname=name)
    path, parameters, _ = prometheus.asked[0]
    assert path == "/prom/api/v1/query"
    start, quoted = 'ALERTS{alertstate="firing",alertname=', json.dumps(name, ensure_ascii=False)
    assert parameters["query"] == [f"{start}{quoted}}}"]
    assert "\n" not in quoted


def test_credentials_are_sent(prometheus: _Prometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITORING_SECRET", "s3cret-token")
    _fires(prometheus, {"bearer_token": "${env:MONITORING_SECRET}"})
    assert {token for _, _, token in prometheus.asked} == {"Bearer s3cret-token"}
    prometheus.asked.clear()
    _fires(prometheus, {"basic": {"username": "uici", "password": "${env:MONITORING_SECRET}"}})
    assert {token for _, _, token in prometheus.asked} == {f"Basic {b64encode(b'uici:s3cret-token').decode()}"}
    prometheus.asked.clear()
    monkeypatch.delenv("MONITORING_SECRET")
    assert _fires(prometheus, {"bearer_token": "${env:MONITORING_SECRET}"}) is None
    assert prometheus.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        {"status": "error"},
        {"status": "success", "data": {"resultType": "matrix", "result": []}},
        {"status": "success", "data": {"resultType": "vector", "result": [5]}},
        {"status": "success", "data": {"resultType": "vector", "result": []}, "warnings": ["partial"]},
        [],
        None,
    ],
)
def test_an_answer_that_is_not_understood_tells_nothing(prometheus: _Prometheus, answer: Any) -> None:
    prometheus.query = answer if answer is not None else b"null"
    assert _fires(prometheus) is None


def test_errors_tell_nothing(prometheus: _Prometheus) -> None:
    for status in (302, 401, 503):
        prometheus.status = status
        assert _fires(prometheus) is None


def test_an_alert_without_name_and_a_server_that_is_gone_tell_nothing(prometheus: _Prometheus) -> None:
    assert _fires(prometheus, alertname="") is None
    assert prometheus.asked == []
    gone = _Prometheus()
    with _serving(gone):
        pass
    assert _fires(gone) is None
