"""infrastructure/monitoring, judged by the programs that read it: promtool, amtool, and UICI's real metrics."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import running, site
from tests.real.components import REPOSITORY
from tests.unit.sites import alert
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site

FOLDER = REPOSITORY / "infrastructure" / "monitoring"
OWN = FOLDER / "prometheus" / "uici.rules.yml"
SERVICES = FOLDER / "prometheus" / "services.rules.yml"
ROUTES = FOLDER / "alertmanager" / "alertmanager.yml"


def run(*argv: str | Path, cwd: Path = FOLDER) -> str:
    done = subprocess.run(
        [str(each) for each in argv], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def receivers(**labels: str) -> set[str]:
    """Whom Alertmanager would tell of an alert with these labels."""
    given = [f"{name}={value}" for name, value in labels.items()]
    return set(run("amtool", "config", "routes", "test", f"--config.file={ROUTES}", *given).strip().split(","))


@pytest.mark.component("prometheus")
def test_the_rules_are_sound_and_pass_their_own_tests() -> None:
    run("promtool", "check", "rules", OWN, SERVICES)
    run("promtool", "test", "rules", "rules.test.yml", cwd=FOLDER / "prometheus")


def test_the_rules_about_uici_ask_for_metrics_that_it_has(tmp_path: Path) -> None:
    with running(site(tmp_path / "site", "web"), World()) as application:
        shown = application.control.metrics().decode()
    exported = set(re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE))
    asked = {name for rule in rules(OWN) for name in re.findall(r"\buici_\w+\b", rule["expr"])}
    assert asked
    assert asked <= exported


def test_every_rule_about_uici_says_so() -> None:
    for rule in rules(OWN):
        assert rule["labels"]["uici_target"] == "uici", rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical", "page")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_every_rule_about_services_has_a_strategy() -> None:
    shipped = load_site(None, executors=discover_executors())
    taken = {}
    for rule in rules(SERVICES):
        found = shipped.strategy_for(alert(alertname=rule["alert"], **rule["labels"]))
        assert found is not None, rule["alert"]
        taken[rule["alert"]] = found[0]
    assert taken["Watchdog"] == "heartbeat"
    # About machines, clusters, databases, canaries and the monitoring itself, of which these rules say nothing.
    others = {
        "cluster",
        "capacity",
        "scaled_out",
        "placement",
        "batch_job",
        "volume",
        "database_load",
        "monitoring_degraded",
        "canary_failed",
    }
    passive = {"inhibitor", "information", "heartbeat_missing", "machine", "high_cpu"} | others
    assert set(taken.values()) == set(shipped.strategies) - passive


@pytest.mark.component("alertmanager")
def test_no_alert_about_uici_can_reach_it_and_every_other_does() -> None:
    run("amtool", "check-config", ROUTES)
    for rule in rules(OWN):
        # However its labels look beside: what Prometheus adds, and a severity that somebody changed.
        for severity in ("page", "critical", "warning", "info", ""):
            labels = {"alertname": rule["alert"], "severity": severity}
            for about in ({"uici_target": "uici"}, {"uici_target": "uici", "job": "web", "service": "web"}):
                told = receivers(**labels, **about)
                assert "uici" not in told, (labels, about)
                assert told <= {"people", "pager"}
    # Where a rule forgot the label, the name of the alert or of the job keeps it out.
    assert receivers(alertname="UiciDown", severity="critical") == {"people"}
    assert receivers(alertname="InstanceDown", severity="critical", job="uici") == {"people"}
    for rule in rules(SERVICES):
        assert "uici" in receivers(alertname=rule["alert"], job="web", **rule["labels"]), rule["alert"]
    assert receivers(alertname="ServiceDown", severity="critical", job="web") == {"uici", "people"}
    assert receivers(alertname="ServiceDown", severity="page", job="web") == {"uici", "pager"}
    assert receivers(alertname="ServiceHighCpu", severity="warning", job="web") == {"uici", "nobody"}
    assert receivers(alertname="Watchdog", severity="none") == {"uici"}
    assert receivers(alertname="AnyInfo", severity="info") == {"nobody"}


def test_the_receiver_of_uici_is_as_its_documentation_says() -> None:
    document = yaml.safe_load(ROUTES.read_text())
    (receiver,) = [item for item in document["receivers"] if item["name"] == "uici"]
    (webhook,) = receiver["webhook_configs"]
    assert webhook["send_resolved"] is True
    assert webhook["max_alerts"] > 0
    assert set(webhook["http_config"]["authorization"]) == {"type", "credentials_file"}
    heartbeat = load_site(None, executors=discover_executors()).strategies["heartbeat"]
    (watchdog,) = [route for route in document["route"]["routes"] if route["matchers"] == ['alertname="Watchdog"']]
    assert watchdog["repeat_interval"] == "1m"
    assert (heartbeat.within_seconds or 0) > 5 * 60
