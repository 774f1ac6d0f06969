"""A site over services in memory, and the alerts about it: what the benchmarks of UICI itself share."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.e2e.server import payload, write_site
from uici.model.base import JsonObject

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def site(
    folder: Path, targets: int, *, autonomy: str = "auto", state: str | None = None, **platform: JsonObject
) -> Path:
    """One strategy that restarts, verified by one look; the limits are as wide as they go, so that on a busy machine
    all is accepted and it shows in the figures. `platform`: more of it.
    """
    settings = {"self": {"names": ["uici"]}, "intake": {"wait_seconds": 60}, **platform}
    verify = {"within": 5, "stable_for": 0, "confirm_within": 0, "interval": 0.05}
    remedy = {"name": "restart", "steps": ["restart_service"], "verify": verify}
    strategy = {"match": ['alertname=~"Down.*"'], "diagnose": ["get_service_status"], "remedies": [remedy]}
    programs = {name: {"program": name, "command": ["/bin/true"]} for name in names(targets)}
    return write_site(
        folder,
        platform=settings | ({"state": state} if state is not None else {}),
        targets={"targets": {name: {"bindings": {"local": program}} for name, program in programs.items()}},
        strategies={"strategies": {"down": strategy}},
        policies={
            "autonomy": autonomy,
            "cooldown": {"seconds": 0},
            "blast_radius": {"max_concurrent": 512, "max_per_hour": 10_000, "min_healthy": 0},
            "mass_failure": {
                "share": 1,
                "at_least": 100_000,
                "within_seconds": 1,
                "release_share": 1,
                "release_seconds": 0,
            },
        },
    )


def names(targets: int) -> list[str]:
    """What the targets of `site` are called."""
    return [f"svc{number}" for number in range(targets)]


def alert(number: int, target: str, wave: int = 0) -> JsonObject:
    """An alert of its own fingerprint, about as large as real ones are."""
    return {
        "status": "firing",
        "labels": {
            "alertname": f"Down{wave}",
            "severity": "critical",
            "uici_target": target,
            "job": "node",
            "instance": f"10.0.{number // 250 % 250}.{number % 250}:9100",
            "pod": f"{target}-{number}",
        },
        "annotations": {"summary": "it is down", "description": f"{target} has not answered for five minutes"},
        "startsAt": (_BEGIN + timedelta(seconds=wave)).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph?g0.expr=up+%3D%3D+0",
        "fingerprint": f"{wave:04x}{number:012x}",
    }


def bodies(notifications: int, alerts_each: int, targets: int, wave: int = 0) -> list[bytes]:
    """Webhook bodies with distinct alerts, spread over the targets."""
    spread = names(targets)
    made = []
    for notification in range(notifications):
        numbers = range(notification * alerts_each, (notification + 1) * alerts_each)
        made.append(
            json.dumps(payload(*(alert(number, spread[number % targets], wave) for number in numbers))).encode()
        )
    return made
