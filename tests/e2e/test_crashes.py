"""kill -9 of UICI at every stage boundary of a run, on a real Docker engine: nothing twice, nothing stuck."""

from __future__ import annotations

import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crashing import BOUNDARY
from tests.e2e.server import Server, alert, payload, write_site
from tests.real.components import REPOSITORY
from tests.real.docker import IMAGE, DockerEngine
from tests.waiting import until
from uici.runs.data import Stage

pytestmark = pytest.mark.component("docker")

# `undo` and `next` belong to remedies that did not help; the ladder below reaches them. `consult` belongs to alerts
# without a strategy: tests/e2e/test_council_planned.py.
ELSEWHERE = (Stage.ENDED, Stage.APPROVAL, Stage.CONSULT, Stage.UNDO, Stage.NEXT)
HEALING = [stage for stage in Stage if stage not in ELSEWHERE]
BOUNDARIES = [f"{stage.value}:{when}" for stage in HEALING for when in ("before", "after")]
BOUNDARIES += ["begin:before", "call:announced", "call:performed"]
ENTRY = "from tests.e2e.crashing import main; main()"
VERIFY = {"within": 30, "stable_for": 0.2, "confirm_within": 0, "interval": 0.1}


def site(folder: Path, engine: DockerEngine, container: str, remedies: list[dict[str, Any]]) -> Path:
    strategy = {"match": ['alertname="Broken"'], "diagnose": ["get_service_status"], "remedies": remedies}
    return write_site(
        folder,
        environments={
            "default": "docker",
            "environments": {"docker": {"platform": "docker", "connection": {"base_url": engine.url}}},
        },
        targets={"targets": {"web": {"bindings": {"docker": {"container": container, "stop_seconds": 1}}}}},
        strategies={"strategies": {"broken": strategy}},
        policies={"autonomy": "auto", "cooldown": {"seconds": 0}, "risk": {"auto_approve_up_to": "high"}},
    )


def running_container(engine: DockerEngine) -> str:
    name = f"web-{secrets.token_hex(4)}"
    client = engine.client()
    client.create_container(
        f"{IMAGE}:good",
        name=name,
        host_config=client.create_host_config(network_mode="none"),
        healthcheck={"test": ["CMD", "ls", "/www/health"], "interval": 300_000_000, "retries": 1},
    )
    client.start(name)
    return name


def actions(engine: DockerEngine, container: str) -> list[str]:
    """What the engine itself says it did to the containers of this name, from the beginning."""
    until_now = int(time.time()) + 1
    stream = engine.client().events(since=0, until=until_now, decode=True, filters={"type": "container"})
    return [event["Action"] for event in stream if event["Actor"]["Attributes"].get("name") == container]


def stuck_slots(config: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(config / "state" / "uici.db") as connection:
        return connection.execute("SELECT target, run_id FROM slots WHERE run_id IS NOT NULL").fetchall()


def crash_and_recover(config: Path, boundary: str) -> tuple[Server, str]:
    """Deliver an alert to a server that dies at the boundary; a second server takes over. Both are the caller's."""
    server = Server(config, entry=ENTRY)
    server.start({BOUNDARY: boundary, "PYTHONPATH": str(REPOSITORY)})
    accepted = server.send(payload(alert("Broken", "web", fingerprint=secrets.token_hex(8))))
    assert accepted.status_code == 202, accepted.text
    until(lambda: server.process.poll() is not None, f"the crash at {boundary}", server.tail)
    assert server.process.returncode == -9, server.tail()
    server.start({"PYTHONPATH": str(REPOSITORY)})
    return server, accepted.json()["incidents"][0]["id"]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_restart_is_never_done_twice(boundary: str, docker_engine: DockerEngine, tmp_path: Path) -> None:
    container = running_container(docker_engine)
    config = site(
        tmp_path / "site",
        docker_engine,
        container,
        [{"name": "restart", "steps": ["restart_service"], "verify": VERIFY}],
    )
    server, incident = crash_and_recover(config, boundary)
    try:
        run = server.ended(server.get(f"/incidents/{incident}")["run"])
        assert run["outcome"] in ("healed", "escalated"), server.explain(run["id"])
        restarts = actions(docker_engine, container).count("restart")
        assert restarts <= 1
        assert (run["outcome"] == "healed") is (restarts == 1), server.explain(run["id"])
        assert server.get(f"/incidents/{incident}")["state"] == "closed"
        assert stuck_slots(config) == []
    finally:
        server.stop()
        server.http.close()
        docker_engine.client().remove_container(container, force=True)


@pytest.mark.parametrize("boundary", ["undo:before", "undo:after", "next:before", "next:after", "approval:after"])
def test_an_undo_and_a_question_survive(boundary: str, docker_engine: DockerEngine, tmp_path: Path) -> None:
    """A remedy that does not help is undone and followed by the next one, whatever dies in between."""
    container = running_container(docker_engine)
    lasting = {"within": 4, "stable_for": 6, "confirm_within": 0, "interval": 0.2}
    spoil = {"operation": "set_configuration", "parameters": {"environment": {"SPOILS_AFTER": "2"}}}
    remedies: list[dict[str, Any]] = [
        {"name": "change", "steps": [spoil], "verify": lasting},
        {"name": "restart", "steps": ["restart_service"], "verify": VERIFY},
    ]
    config = site(tmp_path / "site", docker_engine, container, remedies)
    if boundary.startswith("approval"):
        policies = config / "policies.yml"
        policies.write_text(policies.read_text().replace('"high"', '"low"'))
    server, incident = crash_and_recover(config, boundary)
    try:
        run_id = server.get(f"/incidents/{incident}")["run"]
        if boundary.startswith("approval"):
            until(lambda: server.get(f"/runs/{run_id}")["waiting_for"] == "approval", "the question", server.tail)
            assert [item["state"] for item in server.get(f"/runs/{run_id}")["approvals"]] == ["pending"]
            assert "restart" not in actions(docker_engine, container)
            return
        run = server.ended(run_id)
        assert run["outcome"] in ("healed", "escalated"), server.explain(run_id)
        assert stuck_slots(config) == []
        variables = docker_engine.client().inspect_container(container)["Config"]["Env"]
        assert not [variable for variable in variables if variable.startswith("SPOILS")], server.explain(run_id)
        assert actions(docker_engine, container).count("restart") <= 1
    finally:
        server.stop()
        server.http.close()
        docker_engine.client().remove_container(container, force=True)
