"""Every alert that the Kubernetes mixin can send: the shipped rules make a valid plan, or say why people are asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import running
from tests.real.components import require, shared_folder
from uici.bootstrap import Application

TARGETS = """
targets:
  web: {match: ['alertname=~".+"'], bindings: {local: {program: web, command: [/bin/true]}}}
"""
STATES = ("running", "hanging", "exited", "failed", "restarting", "missing", "paused")
HEAD: dict[str, Any] = {
    "version": "4", "groupKey": "{}", "receiver": "uici", "status": "firing", "groupLabels": {}, "commonLabels": {},
    "commonAnnotations": {}, "externalURL": "http://alertmanager", "truncatedAlerts": 0,
}  # fmt: skip
ENDED = {
    "running": {"escalated", "would wait for the alert's silence", "ignored_by_rule"},
    "other": {"escalated", "would run", "ignored_by_rule"},
}


def mixin(kind: str) -> list[dict[str, Any]]:
    """What the mixin's own tests fire (`fired`), or all its rules (`alerts`)."""
    shared = shared_folder()
    file = shared / "data" / f"kubernetes-mixin-{kind}.json" if shared is not None else None
    require("payloads", file is not None and file.is_file(), f"no data/kubernetes-mixin-{kind}.json under UICI_SHARED")
    assert file is not None
    found: list[dict[str, Any]] = json.loads(file.read_text())[kind]
    return found


def alerts() -> Iterator[dict[str, Any]]:
    """Each as Alertmanager would send it; its labels are texts."""
    for number, item in enumerate([*mixin("fired"), *mixin("alerts")]):
        labels = {"alertname": item.get("alertname") or item["alert"], "n": str(number), **item["labels"]}
        yield {
            "status": "firing",
            "labels": {name: str(value) for name, value in labels.items()},
            "annotations": {name: str(value) for name, value in item["annotations"].items()},
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus/graph",
        }


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def application(tmp_path: Path, world: World) -> Iterator[Application]:
    config = tmp_path / "site"
    config.mkdir()
    (config / "targets.yml").write_text(TARGETS)
    (config / "policies.yml").write_text("autonomy: auto\nrisk: {auto_approve_up_to: high}\n")
    with running(config, world) as application:
        yield application


@pytest.mark.parametrize("state", STATES)
def test_every_alert_gets_a_plan_or_a_reason(application: Application, world: World, state: str) -> None:
    service = world.service("web")
    service.state = "running" if state == "hanging" else state
    service.healthy_when_running = state != "hanging"
    planned = 0
    for alert in alerts():
        (preview,) = application.control.preview({**HEAD, "alerts": [alert]}, None)["previews"]
        shown = f"{alert['labels']}: {json.dumps(preview, indent=1)[:2000]}"
        assert preview["outcome"] in ENDED["running" if state == "running" else "other"], shown
        if preview["outcome"] == "would run":
            planned += 1
            assert preview["plan"]["steps"], shown
            assert all(step["calls"] for step in preview["steps"]), shown
            assert preview["strategy"], shown
            assert preview["remedy"], shown
        else:
            assert preview["plan"] is None, shown
            assert preview["notes"], shown
        if alert["labels"].get("severity") == "info":
            assert preview["outcome"] == "ignored_by_rule", shown
    assert bool(planned) is (state not in ("running", "missing"))
    assert world.done == []
