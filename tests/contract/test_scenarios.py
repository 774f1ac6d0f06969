"""What goes wrong with services, and how it ends: the same on every platform, with only the environment changed.

Each scenario goes the whole way of an alert through UICI, on a real service of the real platform, with the shipped
verbs and strategies; of the strategies only the waiting is shortened. What was done and how it ended is written to
`build/scenarios/`, and the expectation names no platform.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import yaml

from tests.contract import scenario_table
from tests.contract.rig import Rig, fresh
from tests.real.components import REPOSITORY
from tests.waiting import until
from uici.bootstrap import Application
from uici.catalogue.locations import shipped_config
from uici.model.alert import Alert, AlertStatus, Notification
from uici.model.base import JsonObject

TARGET = "web"
PATIENCE_SECONDS = 150.0
QUICK: JsonObject = {"within": 20, "stable_for": 0.5, "confirm_within": 0, "interval": 0.2}
POLICIES: JsonObject = {
    "autonomy": "auto",
    "cooldown": {"seconds": 0},
    "risk": {"auto_approve_up_to": "high"},
    "blast_radius": {"max_concurrent": 10, "max_per_hour": 1000, "min_healthy": 0},
}


class Clock:
    """The time; it may be told that some has passed."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Ground:
    """One UICI whose only environment is the rig's platform, and its only target the rig's service."""

    rig: Rig
    application: Application
    clock: Clock
    mutations: int
    """As the rig's, when nothing had been asked of UICI yet."""
    findings: frozenset[str] = frozenset()
    """Of the last alert."""

    def alert(self, name: str) -> JsonObject:
        """An alert about the service arrives; returns its run once it has ended."""
        alert = Alert(
            fingerprint=token_hex(8),
            status=AlertStatus.FIRING,
            labels={"alertname": name, "service": TARGET, "severity": "critical"},
            annotations={},
            starts_at=self.clock.now(),
            ends_at=None,
            generator_url="",
        )
        notification = Notification(receiver="uici", group_key="", external_url="", alerts=(alert,), truncated_alerts=0)
        accepted = self.application.control.submit(notification, "test").result(30)
        incident = self.application.control.incident(accepted.incidents[0].id)
        ended = self.ended(incident["run"])
        found = self.application.control.incident(incident["id"])["findings"]
        self.findings = frozenset(one["name"] for one in found)
        return ended

    def plan(self, operation: str, **parameters: object) -> JsonObject:
        """What a person asks for, gated by the service's health; returns its run once it has ended."""
        step = {"operation": operation, "target": TARGET, "parameters": parameters}
        # Long enough for a version that is well at first.
        verify = {**QUICK, "stable_for": 3}
        plan = {"environment": self.rig.platform, "steps": [step], "reason": "a scenario", "verify": verify}
        return self.ended(self.application.control.start({"plan": plan}, actor="test")["id"])

    def ended(self, run: str) -> JsonObject:
        def ended() -> JsonObject | None:
            shown = self.application.control.run(run)
            if shown["waiting_for"] == "silence":
                # It is well, and its alert goes on: nobody has to sit through that.
                self.clock.ahead += timedelta(minutes=1)
            return shown if shown["state"] == "ended" else None

        def explain() -> str:
            return json.dumps(self.application.control.run(run), indent=1)[:6000]

        return until(ended, f"the end of {run}", explain, seconds=PATIENCE_SECONDS)

    def healthy(self) -> bool:
        """What the executor says of the service now."""
        found = self.application.services.platforms.read(self.rig.platform, TARGET, "check_service_health")
        return bool(found["healthy"])

    def says(self, text: str) -> None:
        """What the service wrote has come where it is looked for: an alert is minutes later, and these are not."""
        read = self.application.services.platforms.read
        until(
            lambda: any(text in line for line in read(self.rig.platform, TARGET, "check_logs")["lines"]),
            f"it says {text!r}",
        )

    def well_again(self) -> None:
        """What was wrong outside of the service is over: it gets well by itself."""
        until(self.healthy, "the service is well again")


Scenario = Callable[[Ground], JsonObject]


def crash(ground: Ground) -> JsonObject:
    ground.rig.crash(lasting=True)
    return ground.alert("ServiceDown")


def hang(ground: Ground) -> JsonObject:
    ground.rig.hang()
    return ground.alert("ServiceUnhealthy")


def out_of_memory(ground: Ground) -> JsonObject:
    """It really wants more memory than it may have.

    On Docker and Kubernetes the kernel kills it for its cgroup's limit; a local process has a limit of its own address
    space, so its runtime gives up. On Kubernetes the kubelet has started it again by then.
    """
    ground.rig.exhaust()
    return ground.alert("ContainerOOMKilled")


def bad_image(ground: Ground) -> JsonObject:
    return ground.plan("deploy_version", version=ground.rig.version("bad"))


def bad_config(ground: Ground) -> JsonObject:
    """A port where nobody asks it, or where it may not listen."""
    return ground.plan("set_configuration", environment={"PORT": "1"})


def wrong_replicas(ground: Ground) -> JsonObject:
    """Somebody took the last instance away."""
    ground.rig.stop()
    return ground.alert("ServiceDown")


def disk_pressure(ground: Ground) -> JsonObject:
    """It cannot write on its disk, and nothing in its binding says what may be deleted.

    The disk is really full: a small file system of this machine, mounted into the container or the pod. The `sizeLimit`
    of an emptyDir makes none: seen on a real kubelet, 512 KiB fitted into one of 64 KiB, half a minute later the pod
    was evicted, and four seconds after that its Deployment had a new one.
    """
    with ground.rig.full():
        ground.says("No space left")
        return ground.alert("DiskSpaceLow")


def dependency_down(ground: Ground) -> JsonObject:
    """It answers with errors because another service, which it asks each time, is really down."""
    with ground.rig.lacking():
        ground.says("refused")
        return ground.alert("HighErrorRate")


def host_gone(ground: Ground) -> JsonObject:
    """Nobody listens where the platform was."""
    with ground.rig.unreachable():
        return ground.alert("ServiceDown")


def host_drained(ground: Ground) -> JsonObject:
    """Its node is really cordoned, and its pod was evicted.

    Only Kubernetes knows more hosts than one, so the others have nothing to drain; each rig says why.
    """
    with ground.rig.drained():
        ground.mutations = ground.rig.mutations()
        return ground.alert("ServiceDown")


def nothing_wrong(ground: Ground) -> JsonObject:
    return ground.alert("ServiceDown")


@dataclass(frozen=True)
class Expected:
    """How a scenario ends, on every platform."""

    scenario: Scenario
    outcome: str | None
    """Of the run that an alert started; None for a plan of a person."""
    verdict: str | None
    changed: bool
    """Whether anything was sent to the platform that changes it."""
    reason: str = ""
    """The code that the reason begins with, where people are told."""
    findings: frozenset[str] = frozenset()
    """Of the last alert, among others."""
    demanding: bool = False
    """The service has a disk, a limit of its memory, and another service that it needs."""


EXPECTED = {
    "crash": Expected(crash, "healed", "effective", True),
    "hang": Expected(hang, "healed", "effective", True),
    "out_of_memory": Expected(
        out_of_memory, "healed", "effective", True, findings=frozenset({"oom_killed"}), demanding=True
    ),
    "bad_image": Expected(bad_image, None, "ineffective", True),
    "bad_config": Expected(bad_config, None, "ineffective", True),
    "wrong_replicas": Expected(wrong_replicas, "healed", "effective", True),
    "disk_pressure": Expected(
        disk_pressure, "escalated", None, False, "no_remedy_left", frozenset({"disk_full", "unhealthy"}), demanding=True
    ),
    "dependency_down": Expected(
        dependency_down,
        "escalated",
        None,
        False,
        "no_remedy_left",
        frozenset({"connection_refused", "unhealthy"}),
        demanding=True,
    ),
    "host_gone": Expected(host_gone, "escalated", None, False, "platform_unreachable"),
    "host_drained": Expected(host_drained, "escalated", None, False, "no_remedy_left", frozenset({"unschedulable"})),
    "nothing_wrong": Expected(nothing_wrong, "escalated", None, False, "nothing_wrong"),
}


def strategies() -> JsonObject:
    """The shipped ones, word for word but for how long they wait."""
    text = (shipped_config() / "strategies.yml").read_text()
    text = re.sub(r"verify: (&\w+ )?\{[^}]*\}", lambda found: f"verify: {found[1] or ''}{json.dumps(QUICK)}", text)
    document: JsonObject = yaml.safe_load(text)
    return document


@pytest.fixture
def ground(rig: Rig, name: str, tmp_path: Path) -> Iterator[Ground]:
    made = rig.demand() if EXPECTED[name].demanding else fresh(rig)
    binding = {key: value for key, value in made.items() if key != "reclaim"}
    config = tmp_path / "site"
    config.mkdir()
    files: dict[str, Any] = {
        "targets": {"targets": {TARGET: {"match": [f'service="{TARGET}"'], "bindings": {rig.platform: binding}}}},
        "environments": {
            "default": rig.platform,
            "environments": {rig.platform: {"platform": rig.platform, "connection": rig.connection()}},
        },
        "strategies": strategies(),
        "policies": POLICIES,
        # What cannot be looked at is told soon.
        "platform": {"runs": {"read_attempts": 1, "retry_seconds": 0.1, "lookup_seconds": 1}},
    }
    for name, document in files.items():
        (config / f"{name}.yml").write_text(yaml.safe_dump(document))
    clock = Clock()
    application = Application(config, f"sqlite:///{tmp_path / 'uici.db'}", clock=clock)
    application.start()
    try:
        yield Ground(rig, application, clock, rig.mutations())
    finally:
        application.stop()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.whole_node) if name == "host_drained" else name for name in EXPECTED]
)
def test_it_ends_alike_on_every_platform(
    ground: Ground, name: str, record_property: Callable[[str, object], None]
) -> None:
    expected = EXPECTED[name]
    run = expected.scenario(ground)
    sent = [call["call"] for call in run["calls"]]
    row = scenario_table.row(ground.rig.platform, name, run)
    record_property(scenario_table.PROPERTY, row)
    _keep(row)
    shown = json.dumps(run, indent=1)[:6000]
    assert (run["outcome"], run["verdict"], bool(sent)) == (expected.outcome, expected.verdict, expected.changed), shown
    assert run["reason"].startswith(expected.reason), shown
    assert expected.findings <= ground.findings, shown
    if run["outcome"] == "healed":
        assert ground.healthy(), shown
    ground.well_again()  # what was undone has just been started
    assert ground.rig.version_now() == "good"
    if not expected.changed:
        # The platform's own word; what broke the service was done behind its back.
        assert ground.rig.mutations() == ground.mutations


def _keep(row: JsonObject) -> None:
    """For people, until the next run; the table at the end of a run is of that run alone."""
    folder = REPOSITORY / "build" / "scenarios" / row["platform"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row['scenario']}.json").write_text(json.dumps(row, indent=1) + "\n")
