"""A council that dies, hangs or leaks is healed: real processes, the shipped rules, Prometheus, Alertmanager, UICI.

The windows of the rules are made short; nothing else of them is changed but how fast a leak has to be, so that the
growth of a process that has just started is none.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.local_ground import ENVIRONMENT, LocalGround
from tests.e2e.server import Server, alert, payload, write_site
from tests.real.alertmanager import Alertmanager, alertmanager
from tests.real.components import REPOSITORY, free_port
from tests.real.process import end_supervisors
from tests.real.prometheus import Prometheus, prometheus, static_job
from tests.waiting import until
from uici.access.roles import Role
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject
from uici.monitoring.selectors import narrowed

pytestmark = [pytest.mark.component("prometheus"), pytest.mark.component("alertmanager")]

RULES = REPOSITORY / "infrastructure" / "monitoring" / "prometheus" / "council.rules.yml"
KEY = "council-key-of-this-test"
COUNCIL = "council-api"
# `council serve`, which grows from the moment on at which there is a file with its process id.
ENTRY = """
import os, sys, threading, time
from pathlib import Path
from council.cli import main

def leak(asked=Path(sys.argv.pop(1)) / f"leak-{os.getpid()}", held=[]):
    while len(held) < 800:
        time.sleep(0.05)
        if asked.exists():
            held.append(b"x" * 500_000)

threading.Thread(target=leak, daemon=True).start()
main()
"""


@dataclass
class Scene:
    """Everything that runs."""

    ground: LocalGround
    prometheus: Prometheus
    alertmanager: Alertmanager
    http: httpx.Client
    home: Path
    seen: set[str] = field(default_factory=set)

    def council(self) -> psutil.Process:
        """Its live process."""
        found = self.ground.process(COUNCIL)
        assert found is not None
        return found

    def healed(self, alertname: str) -> tuple[JsonObject, JsonObject]:
        """The next incident with this alert that ends healed, and its run."""
        uici = self.ground.uici

        def fresh() -> JsonObject | None:
            for item in uici.get("/incidents")["incidents"]:
                if item["id"] in self.seen or item["outcome"] != "healed":
                    continue
                found: JsonObject = uici.get(f"/incidents/{item['id']}")
                if any(one["labels"]["alertname"] == alertname for one in found["alerts"]):
                    self.seen.add(item["id"])
                    return found
            return None

        incident = until(fresh, f"the healing of {alertname}", self.explain)
        assert incident["target"] == COUNCIL
        return incident, uici.get(f"/runs/{incident['run']}")

    def explain(self) -> str:
        uici = self.ground.uici
        listed = [uici.get(f"/incidents/{item['id']}") for item in uici.get("/incidents")["incidents"]]
        return json.dumps([listed, self.prometheus.alerts()], indent=1)[-8000:] + uici.tail()

    def chat(self, message: str) -> str:
        answer = self.http.post("/chat", json={"session": "mine", "message": message})
        answer.raise_for_status()
        return str(answer.json()["answer"])

    def answers(self) -> bool:
        """Whether Prometheus sees the council."""
        return bool(self.prometheus.query(f'up{{job="{COUNCIL}"}} == 1'))


def quick(rules: str) -> str:
    """The shipped rules with windows of seconds."""
    for pattern, replacement, least in (
        (r"^( +)for: \w+$", r"\1for: 1s", 20),
        (r"\[(5|10|30)m\]", "[5s]", 10),
        (r"> 1800$", "> 10", 1),
        (r"> 128 \* 1024 \* 1024$", "> 8192 * 1024 * 1024", 1),
    ):
        rules, count = re.subn(pattern, replacement, rules, flags=re.MULTILINE)
        assert count >= least, f"{pattern}: {count}"
    return rules


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    home = folder / "council"
    home.mkdir()
    (folder / "key").write_text(KEY)
    (home / "agents.yml").write_text(
        json.dumps({"callers": {"uici": {"key": f"${{file:{folder / 'key'}}}", "administers": True}}})
    )
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-c", ENTRY, str(home), "serve", "--config", str(home), "--listen", address]
    program = {"program": COUNCIL, "command": command, "directory": str(REPOSITORY), "stop_seconds": 1}
    health = {"http": f"http://{address}/health", "timeout": 5}
    targets: dict[str, JsonObject] = {
        COUNCIL: {"bindings": {ENVIRONMENT: {**program, "health": health}}},
        "uici": {"watch_only": True, "bindings": {ENVIRONMENT: {"program": "uici", "command": ["sleep", "99999"]}}},
    }
    with ExitStack() as stack:
        config = write_site(
            folder / "site",
            targets={"targets": targets},
            policies={"autonomy": "auto", "cooldown": {"seconds": 0}},
        )
        uici = Server(config)
        (folder / "token").write_text(uici.tokens[Role.ALERTMANAGER])
        webhook = f"{uici.url}/webhooks/alertmanager"
        am = stack.enter_context(
            alertmanager(folder / "alertmanager", Alertmanager.config_for(webhook, token_file=folder / "token"))
        )
        job = static_job(COUNCIL, address, authorization={"type": "Bearer", "credentials": KEY})
        prom = stack.enter_context(
            prometheus(folder / "prometheus", rules=quick(RULES.read_text()), scrape=[job], alertmanagers=[am.address])
        )
        environment = {"platform": "local", "prometheus": {"url": prom.url}}
        (config / "environments.yml").write_text(json.dumps({"environments": {ENVIRONMENT: environment}}))
        stack.callback(end_supervisors, config)
        stack.enter_context(uici)
        http = httpx.Client(
            base_url=f"http://{address}", headers={"authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False
        )
        stack.enter_context(http)
        ground = LocalGround(uici, targets, [])
        ground.start(COUNCIL)
        scene = Scene(ground, prom, am, http, home)
        until(scene.answers, "the first scrape", scene.explain)
        # Before the program was started its job was down; that is over.
        until(lambda: not prom.alerts(), "the end of the first alerts", scene.explain)
        until(
            lambda: all(item["state"] == "closed" for item in uici.get("/incidents")["incidents"]),
            "the end of the first incidents",
            scene.explain,
        )
        scene.seen = {item["id"] for item in uici.get("/incidents")["incidents"]}
        yield scene


def test_a_killed_council_is_started_and_still_knows_what_it_was_told(scene: Scene) -> None:
    assert scene.chat("My bike is turquoise.") == "Noted."
    until(lambda: waiting(scene) == 0, "the fact to be on the disk")
    spawned = scene.ground.spawned(COUNCIL)
    scene.ground.kill(COUNCIL)

    incident, run = scene.healed("CouncilDown")
    assert {"killed_by_signal", "not_running"} <= names(incident)
    assert run["tried"] == ["start"], scene.ground.uici.explain(run["id"])
    assert scene.ground.spawned(COUNCIL) == spawned + 1
    assert scene.chat("What colour is my bike?") == "My bike is turquoise."


def test_a_council_that_hangs_is_restarted(scene: Scene) -> None:
    until(scene.answers, "Prometheus to see the council", scene.explain)
    hung, spawned = scene.council(), scene.ground.spawned(COUNCIL)
    hung.send_signal(signal.SIGSTOP)

    incident, run = scene.healed("CouncilDown")
    assert {"running", "hanging"} <= names(incident)
    assert run["tried"] == ["restart"], scene.ground.uici.explain(run["id"])
    assert not hung.is_running()
    assert scene.ground.spawned(COUNCIL) == spawned + 1
    assert scene.chat("What colour is my bike?") == "My bike is turquoise."


def test_a_council_that_leaks_is_restarted_once_prometheus_says_so_too(scene: Scene) -> None:
    until(scene.answers, "Prometheus to see the council", scene.explain)
    fat, spawned = scene.council(), scene.ground.spawned(COUNCIL)
    (scene.home / f"leak-{fat.pid}").touch()

    incident, run = scene.healed("CouncilMemoryLeak")
    assert {"running", "healthy", "memory_growing"} <= names(incident)
    assert run["tried"] == ["restart_what_grows"], scene.ground.uici.explain(run["id"])
    assert not fat.is_running()
    assert scene.ground.spawned(COUNCIL) == spawned + 1


@pytest.mark.parametrize(
    "about",
    [
        lambda: alert("UiciDown", "uici", fingerprint="a" * 16, job="uici"),
        lambda: alert("CouncilDown", "uici", fingerprint="b" * 16, job="council-api"),
    ],
    ids=["its own alert", "an alert that claims another's name"],
)
def test_no_alert_that_uici_is_down_leads_to_an_action_on_it(scene: Scene, about: Callable[[], JsonObject]) -> None:
    """Sent to the door itself, past the routes that keep them from it."""
    uici, firing = scene.ground.uici, about()
    process = uici.process.pid
    assert uici.send(payload(firing)).status_code == 202

    def closed() -> JsonObject | None:
        listed = [uici.get(f"/incidents/{item['id']}") for item in uici.get("/incidents")["incidents"]]
        about_it = [one for one in listed if any(a["fingerprint"] == firing["fingerprint"] for a in one["alerts"])]
        return next((one for one in about_it if one["state"] == "closed"), None)

    incident = until(closed, "the end of the incident", scene.explain)
    assert (incident["outcome"], incident["runs"]) == ("refused", [])
    assert "self_target" in incident["reason"]
    assert uici.process.pid == process
    assert uici.process.poll() is None
    os.kill(process, 0)
    assert scene.ground.spawned("uici") == 0


def test_the_rules_about_the_monitoring_ask_for_metrics_that_it_has(scene: Scene) -> None:
    shown = ""
    for url in (scene.prometheus.url, scene.alertmanager.url):
        shown += httpx.get(f"{url}/metrics", timeout=60, trust_env=False).text
    asked = set(re.findall(r"\b(?:prometheus|alertmanager)_\w+", RULES.read_text()))
    assert len(asked) == 3
    assert asked <= set(re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE))


def test_prometheus_understands_what_the_shipped_strategies_ask_it(scene: Scene) -> None:
    asked = [
        step.parameters
        for strategy in load_site(None, executors=discover_executors()).strategies.values()
        for step in strategy.diagnose
        if step.operation == "query_metrics"
    ]
    assert len(asked) >= 4
    for each in asked:
        # Raises where it is no PromQL; nothing here has the labels.
        assert len(scene.prometheus.query(narrowed(each["query"], dict.fromkeys(each.get("labels", {}), "x")))) <= 1


def waiting(scene: Scene) -> float:
    (line,) = re.findall(r"^council_facts_waiting (\S+)$", scene.http.get("/metrics").text, re.MULTILINE)
    return float(line)


def names(incident: JsonObject) -> set[str]:
    return {finding["name"] for finding in incident["findings"]}
