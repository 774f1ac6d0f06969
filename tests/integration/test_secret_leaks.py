"""Canaries: secrets of every kind are put wherever one may stand, and then looked for in all that leaves UICI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import Server, alert, payload, write_site
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject
from uici.model.masking import MASK

KINDS = (
    "connection", "bearer", "hook", "variable", "label", "annotation", "url", "generator", "line", "parameter",
    "refused", "reason", "inline",
)  # fmt: skip
CANARY = {kind: f"canary-{kind}-{uuid.uuid4().hex}" for kind in KINDS}

_VERIFY = {"within": 1, "stable_for": 0.1, "interval": 0.1, "confirm_within": 1}
STRATEGIES: JsonObject = {
    "strategies": {
        name.lower(): {
            "match": [f'alertname="{name}"'],
            "diagnose": ["get_service_status", "check_logs", "describe_service"],
            "remedies": [{"name": operation, "steps": [operation], "verify": _VERIFY}],
        }
        for name, operation in (("Gone", "start_service"), ("Stuck", "restart_service"))
    }
}


@dataclass(frozen=True)
class Ground:
    """A server over a service that fails, and what it told people."""

    uici: Server
    environment: dict[str, str]
    told: list[str]
    incident: str
    run: str


@contextmanager
def _people(told: list[str]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            # The first is refused, so that an error about this address is written as well.
            self.send_response(204 if len(told) > 1 else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{CANARY['hook']}"
        finally:
            server.shutdown()
            thread.join()


def _program(name: str, *, ends: bool, output: Path) -> JsonObject:
    command = ["/bin/sh", "-c", f'cat "$OUTPUT"; {"exit 3" if ends else "exec sleep 99999"}']
    variables = {"OUTPUT": str(output), "DB_PASSWORD": CANARY["variable"]}
    return {
        "bindings": {"local": {"program": name, "command": command, "environment": variables, "stop_seconds": 1}},
        "match": [f'job="{name}"'],
    }


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("leaks")
    output = folder / "output"
    output.write_text(
        f"connection refused, said {CANARY['connection']}\n"
        f"connection refused for admin, password: {CANARY['line']}\n"
        f"connection refused by postgres://admin:{CANARY['url']}@db/x\n"
    )
    told: list[str] = []
    with _people(told) as address:
        prometheus = {
            "url": address.removesuffix(f"/{CANARY['hook']}"),
            "bearer_token": "${env:LEAKS_BEARER}",
            "timeout": 1,
        }
        config = write_site(
            folder / "site",
            platform={"notify": {"webhook": "${env:LEAKS_HOOK}"}, "self": {"names": ["uici"]}},
            environments={
                "default": "local",
                "environments": {
                    "local": {"platform": "local", "prometheus": prometheus},
                    "far": {
                        "platform": "local",
                        "connection": {"directory": "${env:LEAKS_CONNECTION}", "manage": False},
                    },
                },
            },
            targets={
                "targets": {
                    "failing": _program("failing", ends=True, output=output),
                    "steady": _program("steady", ends=False, output=output),
                    "distant": {"bindings": {"far": {"program": "distant", "command": ["true"]}}},
                }
            },
            policies={
                "autonomy": "auto",
                "risk": {"auto_approve_up_to": "medium"},
                "cooldown": {"seconds": 0},
                "blast_radius": {"max_per_hour": 1000},
            },
            strategies=STRATEGIES,
        )
        # What no header can carry is quoted by the library that refuses it.
        environment = {
            "LEAKS_CONNECTION": CANARY["connection"],
            "LEAKS_BEARER": f"{CANARY['bearer']}\nmore",
            "LEAKS_HOOK": address,
        }
        try:
            uici = Server(config)
            try:
                uici.start(environment)
                yield _happened(uici, environment, told)
            finally:
                uici.stop()
                uici.http.close()
        finally:
            end_supervisors(config)


def _happened(uici: Server, environment: dict[str, str], told: list[str]) -> Ground:
    uici.run_step("failing", "start_service", "local")
    uici.run_step("steady", "start_service", "local")
    started = uici.post("/api/v1/runs", {"plan": {"environment": "local", "steps": [_change()]}})
    assert started.status_code == 202, started.text
    run = uici.ended(started.json()["id"])
    assert run["verdict"] == "effective", uici.explain(run["id"])
    answer = uici.send(payload(_firing(), _firing("Stuck", "steady")))
    assert answer.status_code == 202, answer.text
    incident, other = answer.json()["incidents"]
    for each in (incident, other):
        uici.ended(uici.get(f"/incidents/{each['id']}")["run"])
    # About UICI itself: people are told the labels as they came.
    uici.send(payload(_firing("Unheard", "nothing"), _firing("Down", "uici")))
    uici.post("/api/v1/freeze", {"frozen": True, "reason": f"password={CANARY['reason']}"})
    until(
        lambda: len(told) > 2 and any("never remediates itself" in text for text in told),
        "people to be told",
        uici.tail,
    )
    return Ground(uici, environment, told, incident["id"], run["id"])


def _firing(name: str = "Gone", target: str = "failing") -> JsonObject:
    firing = alert(name, target, fingerprint=f"{name.encode().hex():0>16}", note=f"password={CANARY['label']}")
    return firing | {
        "annotations": {"description": f"login failed, password: {CANARY['annotation']}"},
        "generatorURL": f"http://admin:{CANARY['generator']}@prometheus:9090/graph",
    }


def _change() -> JsonObject:
    return {
        "operation": "set_configuration",
        "target": "steady",
        "parameters": {"environment": {"API_TOKEN": CANARY["parameter"]}},
    }


def _answers(ground: Ground) -> dict[str, str]:
    """All that the service says, by what was asked."""
    uici = ground.uici
    step = _change()
    posts: dict[str, JsonObject] = {
        "preview of a plan": {"plan": {"environment": "local", "steps": [step]}},
        "preview of an incident": {"incident": ground.incident},
        "preview of a payload": payload(_firing(), _firing("Unheard", "nothing")),
        "refused: type": {
            "plan": {"steps": [{**step, "parameters": {"environment": f"password={CANARY['refused']}"}}]}
        },
        "refused: value": {
            "plan": {"steps": [{**step, "parameters": {"environment": {"DB_PASSWORD": [CANARY["refused"]]}}}]}
        },
        "refused: target": {"plan": {"steps": [{**step, "target": f"password={CANARY['refused']}"}]}},
        "refused: incident": {"incident": f"token={CANARY['refused']}"},
        "refused: environment": {"environment": f"secret: {CANARY['refused']}", "plan": {"steps": [step]}},
        "refused: key": {f"password={CANARY['refused']}": 1},
    }
    said = {what: uici.post("/api/v1/plans:preview", body).text for what, body in posts.items()}
    gets = [
        "/readyz", "/healthz", "/metrics", "/openapi.json", "/api/v1/incidents", f"/api/v1/incidents/{ground.incident}",
        "/api/v1/runs", f"/api/v1/runs/{ground.run}", f"/api/v1/runs/{ground.run}/events", "/api/v1/environments",
        "/api/v1/targets", "/api/v1/operations", "/api/v1/freeze", f"/api/v1/runs/password={CANARY['refused']}",
        f"/api/v1/events?after=token={CANARY['refused']}", f"/api/v1/token={CANARY['refused']}",
    ]  # fmt: skip
    for run in uici.get("/runs")["runs"]:
        gets += [f"/api/v1/runs/{run['id']}", f"/api/v1/runs/{run['id']}/events"]
    for path in gets:
        said[path] = uici.http.get(path, headers=uici.headers(Role.ADMIN)).text
    plain = uici.headers(Role.VIEWER) | {"Accept": "application/json"}
    said["events"] = uici.http.get("/api/v1/events", headers=plain).text
    said["no such token"] = uici.http.get("/api/v1/runs", headers={"Authorization": f"Bearer {CANARY['refused']}"}).text
    said["no permission"] = uici.post("/api/v1/runs", {"plan": {"steps": [step]}}, Role.VIEWER).text
    return said


def _leaks(texts: dict[str, str], *tokens: str) -> list[str]:
    secrets = {**CANARY, **{f"token {number}": token for number, token in enumerate(tokens)}}
    return [
        f"{kind} in {what}: …{text[max(0, text.index(secret) - 150) : text.index(secret) + len(secret) + 20]}…"
        for what, text in texts.items()
        for kind, secret in secrets.items()
        if secret in text
    ]


def test_nothing_that_the_service_says_holds_a_secret(ground: Ground) -> None:
    said = _answers(ground)
    assert _leaks(said, *ground.uici.tokens.values()) == []
    # What was looked for had a chance to be there.
    incident = said[f"/api/v1/incidents/{ground.incident}"]
    (finding,) = (item for item in json.loads(incident)["findings"] if item["name"] == "connection_refused")
    # Each start printed them.
    assert finding["evidence"]["lines"][:3] == [
        f"connection refused, said {MASK}",
        f"connection refused for admin, password: {MASK}",
        f"connection refused by postgres://admin:{MASK}@db/x",
    ]
    assert f"login failed, password: {MASK}" in incident
    assert f"password={MASK}" in incident
    assert f"http://admin:{MASK}@prometheus:9090/graph" in incident
    (preview,) = json.loads(said["preview of a plan"])["previews"]
    shown = preview["steps"][0]["calls"][0]["arguments"]
    assert shown["environment"] == {"API_TOKEN": MASK}
    assert shown["target"]["environment"]["DB_PASSWORD"] == MASK
    assert shown["target"]["environment"]["OUTPUT"].endswith("/output")
    assert all(
        json.loads(text)["status"] >= 400 for what, text in said.items() if what.startswith(("refused:", "no "))
    ), said


def test_what_people_are_told_holds_no_secret(ground: Ground) -> None:
    assert _leaks({f"message {number}": text for number, text in enumerate(ground.told)}) == []
    assert any(f"password: {MASK}" in text for text in ground.told), ground.told
    assert any(f"password={MASK}" in text for text in ground.told), ground.told


def test_the_log_of_the_server_holds_no_secret(ground: Ground) -> None:
    log = ground.uici.log.read_text()
    # Both hold words of others: of those who told us, and of the library that refused the token.
    assert "human_told" in log
    assert "prometheus_not_asked" in log
    assert _leaks({"log": log}, *ground.uici.tokens.values()) == []


def test_a_stream_of_all_events_holds_no_secret(ground: Ground) -> None:
    newest = json.loads(_answers(ground)["events"])["events"][-1]["id"]
    text = ""
    with ground.uici.http.stream("GET", "/api/v1/events", headers=ground.uici.headers(Role.VIEWER)) as stream:
        for line in stream.iter_lines():
            text += line + "\n"
            if line == f"id: {newest}":
                break
    assert "call_done" in text
    assert _leaks({"stream": text}) == []


def test_a_restarted_server_knows_its_secrets_before_it_uses_them(ground: Ground) -> None:
    ground.uici.stop()
    ground.uici.start(ground.environment)
    path = f"/api/v1/incidents/{ground.incident}"
    # Nothing has asked the environment `far` since.
    first = httpx.get(ground.uici.url + path, headers=ground.uici.headers(Role.VIEWER), trust_env=False).text
    assert f"connection refused, said {MASK}" in first
    assert _leaks({path: first}) == []
    assert _leaks(_answers(ground)) == []


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_check_of_the_configuration_shows_no_secret(ground: Ground, tmp_path: Path, output: str) -> None:
    inline = CANARY["inline"]
    broken = write_site(
        tmp_path / "broken",
        environments={
            "default": "far",
            "environments": {
                "far": {
                    "platform": "docker",
                    "connection": {
                        "password": inline,
                        "base_url": f"tcp://admin:{inline}@far:2375",
                        "api_key": [inline],
                    },
                    "prometheus": {"url": f"ftp://admin:{inline}@far", "bearer_token": inline},
                }
            },
        },
        platform={"notify": {"webhook": f"https://people/{inline}"}},
        targets={"targets": {"web": {"bindings": {"far": {"container": "web", "password": inline, "labels": inline}}}}},
    )
    for config, refused in ((ground.uici.config, False), (broken, True)):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from uici.cli import main; main()",
                "--output",
                output,
                "check",
                "--config",
                str(config),
            ],
            env={**os.environ, **ground.environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert bool(done.returncode) is refused, done.stderr
        assert _leaks({"standard output": done.stdout, "standard error": done.stderr}) == []
