"""Canaries: secrets of every kind are put wherever one may stand, and then looked for in all that leaves UICI."""

from __future__ import annotations

import base64
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

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
    "refused", "reason", "inline", "seal",
)  # fmt: skip
CANARY = {kind: f"canary-{kind}-{uuid.uuid4().hex}" for kind in KINDS}
KNOWN = f'canary:known/{uuid.uuid4().hex}+&"?'
"""Resolved by reference, and then sent back in every way there is: with signs that each encoding writes otherwise."""
SENT = (
    KNOWN, quote(KNOWN, safe=""), json.dumps(KNOWN)[1:-1], base64.b64encode(KNOWN.encode()).decode(),
    base64.b64encode(f"user:{KNOWN}".encode()).decode(), base64.b64encode(f"me:{KNOWN}".encode()).decode(),
    KNOWN.encode().hex(),
)  # fmt: skip
WRITTEN = {
    # Of base64 what does not depend on what stands beside it.
    f"known, written as {text[:5]}": text[8:-4] if text.isalnum() or "=" in text[-2:] else text
    for text in SENT
}
DEBUGGING = (
    "import logging; logging.WARNING = logging.INFO = logging.DEBUG; "  # the level that is asked for is another then
    "from uici.cli import main; main()"
)
"""At every library's most talkative."""
NEEDED = {
    # What a plan does and what undo restores is kept as it is, or neither could be done: in the state, mode 0600.
    "table runs": {"variable", "parameter"}, "table plans": {"variable", "parameter"},
    "table attempts": {"variable", "parameter"}, "table catalogues": {"variable"},
    "file local/supervisor/programs/failing.json": {"variable"},
    "file local/supervisor/programs/steady.json": {"variable", "parameter"},
    # What a sender wrote is no secret of ours, unless it is one that we know.
    "table alerts": {"label", "annotation", "generator"},
}  # fmt: skip

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
        f"connection refused: {' '.join(SENT)}\n"
    )
    told: list[str] = []
    with _people(told) as address:
        prometheus = {
            "url": address.removesuffix(f"/{CANARY['hook']}"),
            "bearer_token": "${env:LEAKS_BEARER}",
            "timeout": 1,
        }
        alertmanager = {"url": prometheus["url"], "bearer_token": "${env:LEAKS_KNOWN}", "timeout": 1}
        config = write_site(
            folder / "site",
            platform={
                "notify": {"webhook": "${env:LEAKS_HOOK}"},
                "self": {"names": ["uici"]},
                "audit": {"seal": "${env:LEAKS_SEAL}"},
            },
            environments={
                "default": "local",
                "environments": {
                    "local": {"platform": "local", "prometheus": prometheus, "alertmanager": alertmanager},
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
            "LEAKS_KNOWN": KNOWN,
            "LEAKS_SEAL": CANARY["seal"],
        }
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LEAKS_SEAL", CANARY["seal"])
                uici = Server(config, entry=DEBUGGING)
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
    said = f"password={CANARY['reason']} {' '.join(SENT)}"
    uici.post("/api/v1/freeze", {"frozen": True, "reason": said})
    for path, body in (
        (f"/api/v1/runs/{run['id']}:approve", {"cid": said[:100], "comment": said}),
        (f"/api/v1/runs/{run['id']}:cancel", {"reason": said}),
        ("/api/v1/learning/vetoes", {"strategy": "stuck", "remedy": "restart_service", "reason": said}),
        ("/api/v1/configuration:reload", {"reason": said}),
        ("/api/v1/runs", {"plan": {"environment": "local", "steps": [_change()], "reason": said}}),
    ):
        uici.post(path, body, Role.ADMIN)
    until(
        lambda: len(told) > 2 and any("never remediates itself" in text for text in told),
        "people to be told",
        uici.tail,
    )
    return Ground(uici, environment, told, incident["id"], run["id"])


def _firing(name: str = "Gone", target: str = "failing") -> JsonObject:
    written = {f"known{number}": text for number, text in enumerate(SENT)}
    note = f"password={CANARY['label']}"
    firing = alert(name, target, fingerprint=f"{name.encode().hex():0>16}", note=note)
    firing["labels"] |= written
    return firing | {
        "annotations": {
            "description": f"login failed, password: {CANARY['annotation']}",
            **{f"note{number}": text for number, text in enumerate(SENT)},
        },
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
        "/api/v1/audit?limit=1000", "/api/v1/audit/head", "/api/v1/learning", "/api/v1/notifications",
        "/api/v1/configuration", "/api/v1/autonomy/report", "/api/v1/fleet", f"/api/v1/runs/{quote(KNOWN, safe='')}",
        f"/api/v1/events?after={quote(KNOWN)}", f"/api/v1/audit?limit={quote(KNOWN)}",
    ]  # fmt: skip
    for run in uici.get("/runs")["runs"]:
        gets += [f"/api/v1/runs/{run['id']}", f"/api/v1/runs/{run['id']}/events"]
    for path in gets:
        sent = {"X-Known": KNOWN, "User-Agent": KNOWN, "Last-Event-ID": "1"}
        said[path] = uici.http.get(path, headers=uici.headers(Role.ADMIN) | sent).text
    plain = uici.headers(Role.VIEWER) | {"Accept": "application/json"}
    said["events"] = uici.http.get("/api/v1/events", headers=plain).text
    with uici.http.stream("GET", f"/api/v1/incidents/{ground.incident}/bundle", headers=plain) as bundle:
        packed = io.BytesIO(bundle.read())
    with zipfile.ZipFile(packed) as archive:
        said |= {f"bundle {name}": archive.read(name).decode() for name in archive.namelist()}
    said["webhook"] = uici.http.post(
        "/webhooks/alertmanager", content=json.dumps({"alerts": KNOWN}), headers=uici.headers(Role.ALERTMANAGER)
    ).text
    said["known as a token"] = uici.http.get("/api/v1/runs", headers={"Authorization": f"Bearer {KNOWN}"}).text
    said["no such token"] = uici.http.get("/api/v1/runs", headers={"Authorization": f"Bearer {CANARY['refused']}"}).text
    said["no permission"] = uici.post("/api/v1/runs", {"plan": {"steps": [step]}}, Role.VIEWER).text
    return said


def _leaks(texts: dict[str, str], *tokens: str) -> list[str]:
    secrets = {**CANARY, **WRITTEN, **{f"token {number}": token for number, token in enumerate(tokens)}}
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


def _kept(ground: Ground) -> dict[str, str]:
    """All that is on disk: each table of the state, and each file beside it."""
    folder = ground.uici.config / "state"
    said: dict[str, str] = {}
    with closing(sqlite3.connect(folder / "uici.db")) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            said[f"table {table}"] = str(connection.execute(f'SELECT * FROM "{table}"').fetchall())
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("uici.db"):
            said[f"file {path.relative_to(folder)}"] = path.read_bytes().decode(errors="replace")
    return said


def test_on_disk_is_only_what_has_to_be(ground: Ground) -> None:
    kept = _kept(ground)
    secrets = {**CANARY, **WRITTEN, **{f"token {role}": token for role, token in ground.uici.tokens.items()}}
    found = {
        (what, kind)
        for what, text in kept.items()
        for kind, secret in secrets.items()
        # What a program printed is in its own log, which is the program's.
        if secret in text and not what.startswith("file local/supervisor/logs/")
    }
    needed = {(what, kind) for what, kinds in NEEDED.items() for kind in kinds}
    assert sorted(found - needed) == [], _leaks({what: kept[what] for what, _ in found - needed})
    assert {("table plans", "parameter"), ("table alerts", "label")} <= found  # this look finds what is there
    assert (ground.uici.config / "state" / "uici.db").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (ground.uici.config / "state").rglob("programs/*.json"))
    assert any(what.startswith("table operation_outputs") for what in kept)


def test_what_people_are_told_holds_no_secret(ground: Ground) -> None:
    assert _leaks({f"message {number}": text for number, text in enumerate(ground.told)}) == []
    assert any(f"password: {MASK}" in text for text in ground.told), ground.told
    assert any(f"password={MASK}" in text for text in ground.told), ground.told


def test_the_log_of_the_server_holds_no_secret(ground: Ground) -> None:
    log = ground.uici.log.read_text()
    # Both hold words of others: of those who told us, and of the library that refused the token.
    assert "human_told" in log
    assert "prometheus_not_asked" in log
    assert "DEBUG" in log
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
