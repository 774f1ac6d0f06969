"""From an alert's POST to the platform: the first diagnostic call, and the restarted container, on a real engine.

The baseline of the same run is the raw SDK: the restart alone, and the reads that the plan makes.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Figure, Ratio, Result
from tests.e2e.server import Server, alert, payload, write_site
from tests.real.docker import IMAGE, DockerEngine, why_no_engine

COUNT = 30
_GRACE_SECONDS = 1
_SETTLE_SECONDS = 0.3
"""Between two rounds, so that one round's clean-up is not measured in the next."""


def measure(folder: Path) -> Result:
    """Raw restarts and healed incidents in turn, so that both see the same machine."""
    reason = why_no_engine()
    if reason is not None:
        return Result(name="healing", absent=reason)
    home = folder / "engine"
    home.mkdir()
    with DockerEngine(home) as engine:
        engine.make_images()
        client = engine.client()
        client.create_container(f"{IMAGE}:good", name="web", host_config=client.create_host_config(network_mode="none"))
        client.start("web")
        with Server(_site(folder / "site", engine)) as server:
            rows = [_round(server, client) for _ in range(COUNT + 2)][2:]
    names = (
        "raw restart",
        "raw read",
        "POST answered",
        "accepted to first call",
        "POST to first call",
        "POST to container up",
        "run ended",
    )
    figures = tuple(Figure.of(name, [row[name] for row in rows]) for name in names)
    medians = {figure.name: figure.median for figure in figures}
    own = medians["POST to container up"] - medians["raw restart"] - medians["raw read"]
    raw = medians["raw restart"]
    return Result(
        name="healing",
        figures=figures,
        ratios=(
            Ratio(
                "POST to the restarted container, median", medians["POST to container up"], "a raw restart", raw, "ms"
            ),
            Ratio("POST to the verified end, median", medians["run ended"], "a raw restart", raw, "ms"),
        ),
        facts={"UICI's own share until the container is up, ms": round(own, 1), "rounds": COUNT},
    )


def _round(server: Server, client: Any) -> dict[str, float]:
    time.sleep(_SETTLE_SECONDS)
    row: dict[str, float] = {}
    began = time.perf_counter()
    client.inspect_container("web")
    row["raw read"] = (time.perf_counter() - began) * 1000
    sent = datetime.now(UTC)
    client.restart("web", timeout=_GRACE_SECONDS)
    row["raw restart"] = _since(sent, _started_at(client))
    time.sleep(_SETTLE_SECONDS)

    body = payload(alert("Broken", "web", fingerprint=secrets.token_hex(8)))
    sent = datetime.now(UTC)
    answer = server.send(body)
    row["POST answered"] = _since(sent, datetime.now(UTC))
    incident = server.get(f"/incidents/{answer.json()['incidents'][0]['id']}")
    run = server.ended(incident["run"])
    if run["outcome"] != "healed":
        raise RuntimeError(f"not healed: {run['reason']}")
    accepted = datetime.fromisoformat(incident["opened_at"])
    row["accepted to first call"] = _since(accepted, datetime.fromisoformat(run["first_call_at"]))
    row["POST to first call"] = _since(sent, datetime.fromisoformat(run["first_call_at"]))
    row["POST to container up"] = _since(sent, _started_at(client))
    row["run ended"] = _since(sent, datetime.fromisoformat(run["ended_at"]))
    return row


def _site(folder: Path, engine: DockerEngine) -> Path:
    verify = {"within": 30, "stable_for": 0, "confirm_within": 0, "interval": 0.05}
    remedy = {"name": "restart", "steps": ["restart_service"], "verify": verify}
    strategy = {"match": ['alertname="Broken"'], "diagnose": ["get_service_status"], "remedies": [remedy]}
    connection = {"base_url": engine.url}
    return write_site(
        folder,
        environments={
            "default": "docker",
            "environments": {"docker": {"platform": "docker", "connection": connection}},
        },
        targets={"targets": {"web": {"bindings": {"docker": {"container": "web", "stop_seconds": _GRACE_SECONDS}}}}},
        strategies={"strategies": {"broken": strategy}},
        policies={
            "autonomy": "auto",
            "cooldown": {"seconds": 0},
            "blast_radius": {"max_per_hour": 10 * COUNT},
        },
    )


def _started_at(client: Any) -> datetime:
    # Docker writes nanoseconds, of which datetime takes the first six digits.
    text = client.inspect_container("web")["State"]["StartedAt"]
    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00")


def _since(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds() * 1000
