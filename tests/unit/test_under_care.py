"""The tree of docs/under-care.md: each shipped alert about the council and what it stands on leads to its target."""

from __future__ import annotations

import pytest
import yaml

from council.settings import Told
from tests.documents import BLOCKS
from tests.real.components import REPOSITORY
from tests.unit.sites import alert
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.intake.targeting import Targeted, index_of
from uici.model.base import JsonObject
from uici.model.identity import SelfIdentity
from uici.model.site import Site

RULES = REPOSITORY / "infrastructure" / "monitoring" / "prometheus" / "council.rules.yml"
JOBS = {"council": "council-api", "vllm": "vllm", "redis": "redis-exporter"}
PROBED = {"CouncilHanging": "council-probe"}
TARGETS = {
    "CouncilCanaryFailed": "council-canary",
    "GpuGone": "vllm",
    "PrometheusDown": "prometheus",
    "PrometheusRuleFailures": "prometheus",
    "PrometheusDropsNotifications": "prometheus",
    "AlertmanagerDown": "alertmanager",
    "AlertmanagerFailsToNotify": "alertmanager",
}
OF_GROUP = {"council": "council-api", "vllm": "vllm", "redis": "redis"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("under-care")
    for block in BLOCKS:
        if block.document == "docs/under-care.md" and block.file is not None:
            (folder / block.file).write_text(block.text)
    (folder / "council.key").write_text("secret")
    environments = folder / "environments.yml"
    environments.write_text(environments.read_text().replace("/etc/uici/council.key", str(folder / "council.key")))
    return load_site(folder, executors=discover_executors())


def resolved(site: Site, **labels: str) -> Targeted:
    return index_of(site).resolve(alert(**labels), SelfIdentity(names=frozenset({"uici"})), None)


def rules() -> list[tuple[str, JsonObject]]:
    """Each with the name of its group."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [(group["name"], rule) for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(("group", "rule"), rules(), ids=lambda each: each if isinstance(each, str) else each["alert"])
def test_each_alert_leads_to_what_it_is_about(site: Site, group: str, rule: JsonObject) -> None:
    name = rule["alert"]
    job = PROBED.get(name) or JOBS.get(group) or TARGETS[name]
    found = resolved(site, **{"job": job, "instance": "127.0.0.1:1", "alertname": name, **rule["labels"]})
    assert (found.environment, found.target) == ("docker", TARGETS.get(name) or OF_GROUP[group])


def test_what_the_council_pushes_about_its_canary_leads_to_it(site: Site) -> None:
    labels = Told(url="http://127.0.0.1:8765/webhooks/alertmanager").labels
    assert resolved(site, alertname="CouncilCanaryFailed", **labels).target == "council-canary"


def test_a_heartbeat_that_stops_leads_to_prometheus(site: Site) -> None:
    labels = {"alertname": "HeartbeatMissing", "heartbeat": "heartbeat", "severity": "critical"}
    assert resolved(site, **labels).target == "prometheus"


@pytest.mark.parametrize("labels", [{"uici_target": "uici"}, {"job": "uici"}])
def test_uici_itself_is_watched_and_never_touched(site: Site, labels: dict[str, str]) -> None:
    assert site.targets["uici"].watch_only
    assert resolved(site, alertname="UiciDown", **labels).is_self
