"""Through the whole machinery, on real things: a drain survives kill -9, and a version that is not well is returned."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.local_rig import SERVICE
from tests.e2e.containers import Yard
from tests.e2e.crashing import BOUNDARY
from tests.e2e.server import Server, alert, payload, write_site
from tests.real.components import REPOSITORY, free_port
from tests.real.docker import DockerEngine
from tests.real.haproxy import haproxy
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

ENTRY = "from tests.e2e.crashing import main; main()"
POLICIES: JsonObject = {"autonomy": "auto", "cooldown": {"seconds": 0}, "risk": {"auto_approve_up_to": "high"}}
QUICK = {"within": 4, "stable_for": 3.5, "confirm_within": 0, "interval": 0.1}


def local_site(folder: Path, binding: JsonObject, **more: Any) -> Path:
    connection = {"directory": str(folder.parent / "supervisor"), "settle_seconds": 0.5}
    return write_site(
        folder,
        environments={"default": "local", "environments": {"local": {"platform": "local", "connection": connection}}},
        targets={"targets": {"web": {"bindings": {"local": binding}}}},
        policies=POLICIES,
        **more,
    )


def service(folder: Path, **more: object) -> JsonObject:
    script, port = folder / "service.py", free_port()
    script.write_text(SERVICE)
    return {
        "program": "web",
        "command": [sys.executable, "-S", str(script)],
        "environment": {"PORT": str(port), "COLOUR": "blue"},
        "versions": {
            "good": {"environment": {"HEALTH": "good"}},
            "bad": {"environment": {"HEALTH": "bad"}},
            "broken": {"command": [sys.executable, "-c", "raise SystemExit(3)"]},
        },
        "version": "good",
        "health": {"http": f"http://127.0.0.1:{port}/", "timeout": 2.0},
        "stop_seconds": 1,
        **more,
    }


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_supervisors(tmp_path / "supervisor")


@pytest.mark.parametrize("boundary", ["call:announced", "call:performed"])
def test_a_drain_that_was_cut_off_is_proved_by_the_load_balancer(boundary: str, supervised: Path) -> None:
    binding = service(supervised)
    address = str(binding["environment"]["PORT"])
    with haproxy(supervised / "haproxy", {"a": f"127.0.0.1:{address}"}) as balancer:
        binding["backend"] = balancer.binding("a")
        verify = {"within": 20, "stable_for": 0, "confirm_within": 0, "interval": 0.1}
        remedy = {"name": "take_it_out", "steps": ["drain_backend"], "verify": verify}
        strategies = {"broken": {"match": ['alertname="Broken"'], "remedies": [remedy]}}
        config = local_site(supervised / "site", binding, strategies={"strategies": strategies})
        server = Server(config, entry=ENTRY)
        try:
            server.start({"PYTHONPATH": str(REPOSITORY)})
            assert server.run_step("web", "start_service", "local")["verdict"] == "effective"
            server.stop()
            server.start({BOUNDARY: boundary, "PYTHONPATH": str(REPOSITORY)})
            sent = server.send(payload(alert("Broken", "web", fingerprint=secrets.token_hex(8))))
            until(lambda: server.process.poll() is not None, f"the crash at {boundary}", server.tail)
            drained = balancer.admin_state("a")
            assert bool(drained) is (boundary == "call:performed")
            server.start({"PYTHONPATH": str(REPOSITORY)})
            run = server.ended(server.get(f"/incidents/{sent.json()['incidents'][0]['id']}")["run"])
            calls = [(call["call"], call["outcome"]) for call in run["calls"]]
            assert balancer.admin_state("a") == 0x08, server.explain(run["id"])
            expected = ["proved_done"] if boundary == "call:performed" else ["not_done", "done"]
            assert [outcome for _, outcome in calls] == expected, server.explain(run["id"])
        finally:
            server.stop()
            server.http.close()


def described(server: Server, environment: str) -> JsonObject:
    """The configuration by UICI's own look, without what only a moment has."""
    run = server.run_step("web", "describe_service", environment)
    headers = {**server.headers(Role.VIEWER), "Accept": "application/json"}
    answer = server.http.get("/api/v1/events", params={"run": run["id"]}, headers=headers)
    done = next(event for event in answer.json()["events"] if event["type"] == "uici.step_done")
    found: JsonObject = {name: value for name, value in done["data"]["result"].items() if name != "status"}
    return found


def deployed(server: Server, version: str, environment: str) -> JsonObject:
    step = {"operation": "deploy_version", "target": "web", "parameters": {"version": version}}
    plan = {"environment": environment, "steps": [step], "reason": "a new version", "verify": QUICK}
    started = server.post("/api/v1/runs", {"plan": plan})
    assert started.status_code == 202, started.text
    return server.ended(started.json()["id"])


def test_a_local_version_that_is_not_well_or_does_not_start_is_returned(supervised: Path) -> None:
    config = local_site(supervised / "site", service(supervised))
    with Server(config) as server:
        server.run_step("web", "start_service", "local")
        before = described(server, "local")
        for version in ("bad", "broken"):
            run = deployed(server, version, "local")
            assert run["verdict"] == "ineffective", server.explain(run["id"])
            assert described(server, "local") == before, json.dumps(run["changes"])
        run = server.run_step("web", "check_service_health", "local")
        assert run["verdict"] == "effective"


@pytest.mark.component("docker")
def test_a_container_of_a_version_that_is_not_well_is_returned(docker_engine: DockerEngine, tmp_path: Path) -> None:
    with Yard(docker_engine) as yard:
        web = yard.run(f"web-{secrets.token_hex(4)}")
        config = write_site(
            tmp_path / "site",
            environments={"default": "docker", "environments": {"docker": yard.environment()}},
            targets={"targets": {"web": {"bindings": {"docker": web.binding()}}}},
            policies=POLICIES,
        )
        with Server(config) as server:
            before = described(server, "docker")
            # Well at first and ill after two seconds, and without the program that is to be run.
            for version in ("late", "empty"):
                if version == "empty":
                    yard.client.import_image_from_data(_nothing(), repository="uici-test/web", tag="empty")
                run = deployed(server, version, "docker")
                assert run["verdict"] == "ineffective", server.explain(run["id"])
                assert described(server, "docker") == before, json.dumps(run["changes"])
            assert web.healthy()


def _nothing() -> bytes:
    from tests.contract.docker_rig import empty_image

    return empty_image()
