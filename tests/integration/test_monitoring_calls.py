"""The monitoring's verbs in runs: against the real servers, through the same announce, send and settle as any call."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import alert, closed, running, send, site, told
from tests.real.alertmanager import Alertmanager, alertmanager
from tests.real.prometheus import Prometheus, prometheus
from tests.waiting import until
from uici.bootstrap import Application
from uici.model.base import JsonObject

pytestmark = [pytest.mark.component("prometheus"), pytest.mark.component("alertmanager")]

RULES = """
groups:
- name: g
  rules:
  - {alert: Down, expr: 'vector(1) == 1', labels: {uici_target: web, job: web}}
  - {alert: Down, expr: 'vector(1) == 1', labels: {uici_target: uici}}
"""
STRATEGIES = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose:
      - get_service_status
      - check_service_health
      - operation: query_metrics
        parameters:
          query: "sum(ALERTS{alertstate='firing'})"
          labels: {uici_target: "${labels.uici_target}"}
          name: firing
    remedies:
      - name: hush
        when: {all: [alert_seen]}
        steps:
          - operation: silence_alert
            parameters:
              matchers: {alertname: "${labels.alertname}"}
              duration_seconds: 600
              comment: "known, and being looked at"
        verify: {within: 1, stable_for: 0.1, confirm_within: 1, interval: 0.1}
"""
FINDINGS = """
findings:
  alert_seen:
    summary: Prometheus says that the alert fires
    when:
      - {operation: query_metrics, all: [{field: name, equals: firing}, {field: value, at_least: 1}]}
"""
POLICIES = """
autonomy: auto
risk: {auto_approve_up_to: high}
cooldown: {seconds: 0}
"""


class Servers:
    def __init__(self, prometheus: Prometheus, alertmanager: Alertmanager) -> None:
        self.prometheus = prometheus
        self.alertmanager = alertmanager

    def silences(self) -> list[dict[str, Any]]:
        """Those in force."""
        answer = httpx.get(f"{self.alertmanager.url}/api/v2/silences", timeout=10, trust_env=False)
        return [item for item in answer.json() if item["status"]["state"] != "expired"]

    def site(self, folder: Path) -> Path:
        config = site(
            folder / "site",
            "web",
            strategies=STRATEGIES,
            policies=POLICIES,
            environments=f"""
environments:
  local:
    platform: local
    prometheus: {{url: "{self.prometheus.url}"}}
    alertmanager: {{url: "{self.alertmanager.url}"}}
""",
        )
        (config / "findings.yml").write_text(FINDINGS)
        return config


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    tmp_path = tmp_path_factory.mktemp("servers")
    config = Alertmanager.config_for("http://127.0.0.1:9/nowhere")
    with (
        alertmanager(tmp_path / "am", config) as am,
        prometheus(tmp_path / "prom", rules=RULES, alertmanagers=[am.address]) as prom,
    ):
        until(lambda: len(prom.query('ALERTS{alertstate="firing"}')) == 2, "both alerts")
        until(lambda: len(am.alerts()) == 2, "both alerts in Alertmanager")
        yield Servers(prom, am)


@pytest.fixture
def servers(both: Servers) -> Servers:
    for silence in both.silences():
        url = f"{both.alertmanager.url}/api/v2/silence/{silence['id']}"
        httpx.delete(url, timeout=10, trust_env=False).raise_for_status()
    return both


def down(program: str = "web") -> Any:
    return alert(program, starts=datetime.now(UTC), job=program)


def _calls(application: Application, incident: JsonObject) -> list[JsonObject]:
    calls: list[JsonObject] = application.control.run(incident["run"])["calls"]
    return calls


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_silence_is_made_once_and_is_never_health(servers: Servers, tmp_path: Path, state: str) -> None:
    world = World()
    world.service("web").state = state
    if state == "running":
        world.service("web").healthy_when_running = False  # so that there is something to do

    def well_after_the_silence() -> bool:
        return bool(servers.silences())

    with running(servers.site(tmp_path), world) as application:
        accepted = send(application, down())
        if state == "running":
            until(well_after_the_silence, "the silence")
            world.service("web").healthy_when_running = True
        incident = closed(application, accepted)
        (silence,) = servers.silences()
        run = application.control.run(incident["run"])
        (call,) = _calls(application, incident)
    # Healthy or not: the alert still fires in Prometheus, whatever Alertmanager hides.
    assert incident["outcome"] == "escalated"
    assert run["verdict"] == ("inconclusive" if state == "running" else "ineffective")
    assert (call["call"], call["outcome"], call["result"]["silence"]) == ("silence.make", "done", silence["id"])
    assert silence["createdBy"] == "uici"
    assert silence["comment"].startswith("known, and being looked at")
    by_target = {item["labels"]["uici_target"]: item["status"]["silencedBy"] for item in servers.alertmanager.alerts()}
    assert by_target == {"web": [silence["id"]], "uici": []}


@pytest.mark.parametrize("moment", ["before_sending", "after_sending"])
def test_a_crash_never_makes_two_silences(
    servers: Servers, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost on the way, as when the process dies between sending and settling."""
    real = httpx.AsyncClient.send
    sent: list[str] = []

    async def losing(self: httpx.AsyncClient, request: httpx.Request, **more: Any) -> httpx.Response:
        if request.method != "POST" or sent:
            return await real(self, request, **more)
        sent.append(request.method)
        if moment == "after_sending":
            await (await real(self, request, **more)).aclose()
        raise httpx.ReadError("the answer is lost")

    monkeypatch.setattr(httpx.AsyncClient, "send", losing)
    with running(servers.site(tmp_path), World()) as application:
        incident = closed(application, send(application, down()))
        calls = _calls(application, incident)
    assert len(servers.silences()) == 1
    assert [call["outcome"] for call in calls] == (
        ["proved_done"] if moment == "after_sending" else ["not_done", "done"]
    )


def test_a_silence_can_be_ended_by_hand(servers: Servers, tmp_path: Path) -> None:
    with running(servers.site(tmp_path), World()) as application:
        closed(application, send(application, down()))
        (silence,) = servers.silences()
        step = {"operation": "expire_silence", "target": "web", "parameters": {"silence": silence["id"]}}
        document = {"environment": "local", "reason": "it is over", "steps": [step]}
        run = application.control.start({"plan": document}, "bob")
        until(lambda: application.control.run(run["id"])["state"] == "ended", "the end")
        shown = application.control.run(run["id"])
        assert shown["verdict"] == "effective", shown
    assert servers.silences() == []


def test_diagnosis_goes_on_when_the_monitoring_is_gone(servers: Servers, tmp_path: Path) -> None:
    config = servers.site(tmp_path)
    (config / "environments.yml").write_text(
        'environments: {local: {platform: local, prometheus: {url: "http://127.0.0.1:9", timeout: 1}}}'
    )
    with running(config, World()) as application:
        incident = closed(application, send(application, down()))
        (diagnosed,) = [event for event in incident["timeline"] if event["type"] == "diagnosed"]
        assert "could not be asked" in diagnosed["data"]["failed"]["query_metrics"]
        assert "hush: needs alert_seen" in incident["reason"]
        assert told(application)[-1]["kind"] == "escalation"
    assert servers.silences() == []


def test_what_a_label_says_is_only_ever_a_value(servers: Servers, tmp_path: Path) -> None:
    """A hostile label value in a query asks for a series of that name, which there is none of."""
    with running(servers.site(tmp_path), World()) as application:
        hostile = alert("web", starts=datetime.now(UTC))
        labels = {**hostile.labels, "uici_target": 'web"} or vector(1) or up{a="', "program": "web"}
        incident = closed(application, send(application, dataclasses.replace(hostile, labels=labels)))
    (diagnosed,) = [event for event in incident["timeline"] if event["type"] == "diagnosed"]
    assert "Prometheus has no series" in diagnosed["data"]["failed"]["query_metrics"]
    assert servers.silences() == []
