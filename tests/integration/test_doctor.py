"""`uici doctor`: what it sees of UICI, its environments and their monitoring, and that it changes nothing."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from tests.integration.service_rig import serving
from tests.real.components import free_port
from tests.real.docker import DockerEngine
from uici.cli.app import app

TARGETS = """
targets:
  web:
    match: ['job="web"']
    bindings: {local: {program: web, command: [/bin/sleep, '1']}}
"""


pytestmark = pytest.mark.usefixtures("lone_shell")


def site(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    files = {"targets": TARGETS, "platform": f"service: {{listen: '127.0.0.1:{free_port()}'}}\n"} | files
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text)
    return folder


def checks(*arguments: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", "--config", "site", "-o", "json", *arguments])
    assert "Traceback" not in result.output
    document = json.loads(result.stdout)
    found = {(check["of"], check["name"]): check for check in document["checks"]}
    assert len(found) == len(document["checks"])
    assert document["ok"] is not any(check["state"] == "fail" for check in found.values())
    for check in found.values():
        assert check["seen"]
        assert check["advice"] or check["state"] in ("ok", "skip")
    return result.exit_code, found


def states(found: dict[tuple[str, str], dict[str, Any]], of: str) -> dict[str, str]:
    return {name: check["state"] for (whose, name), check in found.items() if whose == of}


def test_a_new_site_is_looked_at_and_nothing_is_made(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    before = sorted(folder.rglob("*"))
    code, found = checks()
    assert code == 0
    assert sorted(folder.rglob("*")) == before
    own = states(found, "uici")
    assert own == {
        "configuration": "ok", "versions": "ok", "SQLite": "ok", "file descriptors": own["file descriptors"],
        "clock": "ok", "state": "ok", "disk": own["disk"], "journal": "skip", "tokens": "warn",
        "listen address": "ok", "self": "ok", "council": "skip",
    }  # fmt: skip
    local = states(found, "local")
    assert (local["connection"], local["supervisor folder"]) == ("ok", "ok")
    assert (local["prometheus"], local["alertmanager"]) == ("skip", "skip")
    assert local["target web"] in ("fail", "warn")


def test_the_table_says_what_to_do(tmp_path: Path) -> None:
    site(tmp_path / "site")
    result = CliRunner().invoke(app, ["doctor", "--config", "site"])
    assert "  warn tokens" in result.stdout
    assert "do: uici token create --role alertmanager" in result.stdout
    assert " ok, " in result.stdout.splitlines()[-1]


def test_a_broken_configuration_is_told_and_the_machine_is_still_looked_at(tmp_path: Path) -> None:
    site(tmp_path / "site", policies="autonmy: auto\n")
    code, found = checks()
    assert code == 1
    assert found["uici", "configuration"]["state"] == "fail"
    assert "uici check" in found["uici", "configuration"]["advice"]
    assert found["uici", "versions"]["state"] == "ok"


def test_an_unknown_environment_is_wrong_usage(tmp_path: Path) -> None:
    site(tmp_path / "site")
    assert CliRunner().invoke(app, ["doctor", "--config", "site", "-e", "lokal"]).exit_code == 2


def test_thresholds_come_from_the_configuration(tmp_path: Path) -> None:
    site(tmp_path / "site", platform="doctor: {free_bytes: 100000000000000000, file_descriptors: 100000000}\n")
    code, found = checks()
    assert code == 1
    assert states(found, "uici")["disk"] == "fail"
    assert states(found, "uici")["file descriptors"] == "warn"


def test_beside_a_running_service_and_beside_something_else(tmp_path: Path) -> None:
    with serving(tmp_path / "served") as served:
        parts = urlsplit(served.url)
        site(tmp_path / "site", platform=f"service: {{listen: '{parts.netloc}'}}\n")
        state = f"sqlite:///{served.application.store.path}"
        _, found = checks("--state", state)
        assert "and is ready" in found["uici", "listen address"]["seen"]
        assert found["uici", "tokens"]["state"] == found["uici", "journal"]["state"] == "ok"
    with socket.create_server(("127.0.0.1", 0)) as other:
        site(tmp_path / "site", platform=f"service: {{listen: '127.0.0.1:{other.getsockname()[1]}'}}\n")

        def close_all() -> None:
            for _ in range(2):
                other.accept()[0].close()

        closing = threading.Thread(target=close_all)
        closing.start()
        code, found = checks()
        closing.join(10)
    assert (code, found["uici", "listen address"]["state"]) == (1, "fail")


class Monitoring:
    """A Prometheus and an Alertmanager whose clocks go wrong by `skew` seconds."""

    def __init__(self, skew: float, configuration: str, series: int) -> None:
        monitoring = self
        self.answers: dict[str, Any] = {
            "/api/v1/rules": {"status": "success", "data": {"groups": [{"rules": [
                {"type": "alerting", "name": "Down", "health": "ok"},
                {"type": "alerting", "name": "Wrong", "health": "err"},
            ]}]}},
            "/api/v2/status": {"versionInfo": {"version": "0.25.0"}, "config": {"original": configuration}},
            "/api/v2/silences": [],
        }  # fmt: skip

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                answer = monitoring.answers.get(parts.path)
                if answer is None:
                    query = parse_qs(parts.query)["query"][0]
                    value = time.time() + skew if query == "time()" else float(series)
                    result = [{"metric": {}, "value": [0, str(value)]}] if query == "time()" or series else []
                    answer = {"status": "success", "data": {"resultType": "vector", "result": result}}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(int(time.time() + skew))

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def environment(prometheus: str, alertmanager: str) -> str:
    return (
        f"environments:\n  local: {{platform: local, prometheus: {{url: '{prometheus}'}}, "
        f"alertmanager: {{url: '{alertmanager}'}}}}\n"
    )


@pytest.mark.parametrize(
    ("skew", "configuration", "series", "wanted"),
    [
        (0.0, "url: http://uici:8765/webhooks/alertmanager", 3, ("ok", "ok", "ok", "ok")),
        (-300.0, "receivers: []", 0, ("warn", "warn", "warn", "warn")),
        (300.0, "webhook_configs:\n- url: <secret>", 3, ("warn", "warn", "ok", "skip")),
    ],
)
def test_monitoring(tmp_path: Path, skew: float, configuration: str, series: int, wanted: tuple[str, ...]) -> None:
    with Monitoring(skew, configuration, series) as url:
        site(tmp_path / "site", environments=environment(url, url))
        _, found = checks("-e", "local")
    of = states(found, "local")
    names = ("clock of the prometheus", "clock of the alertmanager", "data about web", "alerts are routed to UICI")
    assert tuple(of[name] for name in names) == wanted
    assert (of["prometheus"], of["alertmanager"], of["prometheus rules"]) == ("ok", "ok", "warn")
    assert "Wrong" in found["local", "prometheus rules"]["seen"]
    if skew:
        seconds, _, _ = found["local", "clock of the prometheus"]["seen"].partition(" s against")
        # As far as the answer was on its way, it is off.
        assert abs(float(seconds) - skew) < 30
        assert "silence" in found["local", "clock of the prometheus"]["seen"]


def test_monitoring_that_is_away_fails(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    site(tmp_path / "site", environments=environment(nowhere, nowhere))
    code, found = checks("-e", "local")
    assert code == 1
    assert (states(found, "local")["prometheus"], states(found, "local")["alertmanager"]) == ("fail", "fail")


def test_an_engine_that_is_not_there_or_whose_secret_is_missing(tmp_path: Path) -> None:
    text = "environments:\n  docker: {platform: docker, connection: {base_url: '%s'}}\n"
    site(tmp_path / "site", environments=text % "unix:///nowhere/docker.sock")
    code, found = checks("-e", "docker")
    of = states(found, "docker")
    assert (code, of["connection"], of["engine socket"], of["targets"]) == (1, "fail", "fail", "skip")
    site(tmp_path / "site", environments=text % "${env:UICI_NO_SUCH_ENGINE}")
    code, found = checks("-e", "docker")
    assert (code, "UICI_NO_SUCH_ENGINE" in found["docker", "connection"]["seen"]) == (1, True)


@pytest.mark.component("docker")
def test_a_real_engine(tmp_path: Path, docker_engine: DockerEngine) -> None:
    connection = f"environments:\n  docker: {{platform: docker, connection: {{base_url: '{docker_engine.url}'}}}}\n"
    targets = "targets:\n  gone: {bindings: {docker: {container: uici-t-no-such-container}}}\n"
    site(tmp_path / "site", environments=connection, targets=targets)
    code, found = checks("-e", "docker")
    of = states(found, "docker")
    assert (of["connection"], of["engine version"], of["engine socket"]) == ("ok", "ok", "ok")
    assert of["clock of the platform"] == "ok"
    assert (code, of["target gone"]) == (1, "fail")
    assert "does not exist" in found["docker", "target gone"]["seen"]


def test_an_environment_where_no_target_lives_is_said_and_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site(tmp_path / "site")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    _, found = checks()
    for name in ("docker", "kubernetes", "oci"):
        assert states(found, name) == {"connection": "skip"}
        assert f"uici doctor --environment {name}" in found[name, "connection"]["seen"]


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ("kubernetes", "there is no kubeconfig at {home}/.kube/config"),
        ("oci", "profile 'DEFAULT' of ~/.oci/config gives no credentials (there is no such file)"),
    ],
)
def test_one_whose_credentials_are_not_there_says_so_when_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str, why: str
) -> None:
    site(tmp_path / "site")
    home = tmp_path / "nobody"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    code, found = checks("--environment", environment)
    assert (code, states(found, environment)["connection"]) == (1, "fail")
    assert why.format(home=home) in found[environment, "connection"]["seen"]
