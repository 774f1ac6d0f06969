"""infrastructure/monitoring, judged by the programs that read it: promtool, amtool, and UICI's real metrics."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from council.monitors.metrics import BUCKETS, Metrics
from tests.council.ground import council
from tests.doubles.memory_executor import World
from tests.integration.runs_rig import running, site
from tests.real.components import REPOSITORY
from tests.unit.sites import alert
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.runs.questions import SECONDS

FOLDER = REPOSITORY / "infrastructure" / "monitoring"
OWN = FOLDER / "prometheus" / "uici.rules.yml"
SERVICES = FOLDER / "prometheus" / "services.rules.yml"
COUNCIL = FOLDER / "prometheus" / "council.rules.yml"
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
    run("promtool", "check", "rules", OWN, SERVICES, COUNCIL)
    run("promtool", "test", "rules", "rules.test.yml", "council.test.yml", cwd=FOLDER / "prometheus")


def test_every_rule_about_the_council_and_what_it_stands_on_fires_in_a_test() -> None:
    tested = (FOLDER / "prometheus" / "council.test.yml").read_text()
    tested += (FOLDER / "prometheus" / "rules.test.yml").read_text()
    asking = [rule for rule in rules(OWN) if "uici_council_" in rule["expr"]]
    for rule in [*rules(COUNCIL), *asking]:
        assert re.search(rf'alertname(: |="){rule["alert"]}\b', tested), rule["alert"]


def test_the_rules_about_uici_ask_for_metrics_that_it_has(tmp_path: Path) -> None:
    with running(site(tmp_path / "site", "web"), World()) as application:
        shown = application.control.metrics().decode()
    exported = _exported(shown)
    asked = {name for rule in rules(OWN) for name in re.findall(r"\buici_\w+\b", rule["expr"])}
    assert asked
    assert asked <= exported


def test_the_rules_about_the_council_ask_for_metrics_that_it_has() -> None:
    shown = _council_metrics()
    asked = {name for rule in rules(COUNCIL) for name in re.findall(r"\bcouncil_\w+\b", rule["expr"])}
    # Those of a GPU are shown where there is one: tests/council/test_figures.py.
    gpus = {name for name in asked if name.startswith("council_gpu_")}
    assert gpus == {"council_gpu_utilization_ratio", "council_gpu_memory_total_bytes"}
    assert asked - gpus
    assert asked - gpus <= shown


def test_a_quantile_is_compared_with_an_edge_of_its_histogram_that_is_not_the_last() -> None:
    durations = {
        family.name
        for family in Metrics().registry.collect()
        if family.type == "histogram" and family.name.endswith("_seconds")
    }
    assert _compared(COUNCIL, BUCKETS) == durations, "each duration that is measured is there for a rule's gate"
    assert _compared(OWN, SECONDS) == {"uici_council_question_seconds"}


def _compared(file: Path, edges: tuple[float, ...]) -> set[str]:
    """The histograms of which the file's rules compare a quantile with a number."""
    compared = set()
    for rule in rules(file):
        for quantile in re.finditer(r"histogram_quantile\(", rule["expr"]):
            found = re.search(r"\((\w+)_bucket\b.*?\)\s*>\s*([0-9.]+)$", rule["expr"][quantile.start() :])
            assert found is not None, f"{rule['alert']}: of what, and compared with which number?"
            assert float(found[2]) in edges[:-1], f"{rule['alert']}: {found[2]} is none of {edges[:-1]}"
            compared.add(found[1])
    return compared


def _council_metrics() -> set[str]:
    """Every name that a council with a canary can show."""
    with TemporaryDirectory() as folder:
        canary = {"main": "old", "backend": "new"}
        with council(Path(folder), "old", "new", canary=canary) as ground:
            return _exported(ground.http().get("/metrics").text)


def _exported(text: str) -> set[str]:
    """The names that are shown, with the suffixes of their kinds."""
    kinds = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {
        name + suffix
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
        for suffix in kinds.get(kind, ("",))
    }


def test_every_rule_about_uici_says_so() -> None:
    for rule in rules(OWN):
        assert rule["labels"]["uici_target"] == "uici", rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical", "page")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_every_rule_about_services_has_a_strategy() -> None:
    shipped = load_site(None, executors=discover_executors())
    taken = {}
    for rule in [*rules(SERVICES), *rules(COUNCIL)]:
        found = shipped.strategy_for(alert(alertname=rule["alert"], **rule["labels"]))
        assert found is not None, rule["alert"]
        taken[rule["alert"]] = found[0]
    assert taken["Watchdog"] == "heartbeat"
    # Strategies that never raise a budget, move what is only in memory, or ask a GPU: people are told.
    for name in ("council_budget", "council_memory_behind", "gpu_gone", "redis_memory"):
        assert shipped.strategies[name].action == "escalate"
    # About machines, clusters and databases, of which these rules say nothing.
    others = {
        "cluster",
        "capacity",
        "scaled_out",
        "placement",
        "batch_job",
        "volume",
        "database_load",
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
    for rule in [*rules(SERVICES), *rules(COUNCIL)]:
        assert "uici" in receivers(alertname=rule["alert"], **{"job": "web", **rule["labels"]}), rule["alert"]
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
