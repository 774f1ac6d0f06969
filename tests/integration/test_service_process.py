"""`uici serve` as a process: it starts from the starter tree, says what is wrong, and stops when it is told to."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.service_rig import alert, notification
from tests.real.web import web
from tests.waiting import until

DEADLINE = 60.0
UICI = [sys.executable, "-c", "from uici.cli import main; main()"]


def uici(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UICI_")}
    return subprocess.run(
        [*UICI, *arguments], env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [*UICI, "serve", "--config", str(folder), "--listen", f"127.0.0.1:{port}"]
    command += ["--state", f"sqlite:///{folder}/state/uici.db"]
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "serve.log").read_text()
            try:
                return bool(web.get(f"http://127.0.0.1:{port}/healthz"))
            except httpx.TransportError:
                return False

        until(answers, "uici serve to answer", (folder / "serve.log").read_text)
        yield process
    finally:
        process.kill()
        process.wait()


def test_from_init_to_a_clean_end(tmp_path: Path) -> None:
    folder, port = tmp_path / "site", free_port()
    assert uici("init", str(folder)).returncode == 0
    state = f"sqlite:///{folder}/state/uici.db"
    with serving(folder, port) as process:
        # A token that is made while the service runs is good at once.
        token = uici("token", "create", "--role", "operator", "--config", str(folder), "--state", state).stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client:
            answer = client.post("/webhooks/alertmanager", json=notification(alert()))
            assert answer.status_code == 202
            (incident,) = answer.json()["incidents"]
            lines: list[str] = []
            ended = threading.Event()

            def follow() -> None:
                with client.stream("GET", "/api/v1/events", timeout=DEADLINE) as stream:
                    lines.extend(stream.iter_lines())
                ended.set()

            reader = threading.Thread(target=follow)
            reader.start()
            until(lambda: client.get(f"/api/v1/incidents/{incident['id']}").is_success, "the incident")
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0, (folder / "serve.log").read_text()
            assert ended.wait(DEADLINE)
            reader.join(DEADLINE)
    assert token not in (folder / "serve.log").read_text()
    logged = [json.loads(line)["event"] for line in (folder / "serve.log").read_text().splitlines()]
    assert logged[-1] == "stopped"
    with serving(folder, port):
        # What was accepted is still there.
        found = web.get(f"http://127.0.0.1:{port}/api/v1/incidents", headers=headers).json()
        assert [each["id"] for each in found["incidents"]] == [incident["id"]]


def test_a_second_service_on_the_same_state_says_so(tmp_path: Path) -> None:
    folder, port = tmp_path / "site", free_port()
    assert uici("init", str(folder)).returncode == 0
    with serving(folder, port):
        state = f"sqlite:///{folder}/state/uici.db"
        second = uici("serve", "--config", str(folder), "--listen", f"127.0.0.1:{free_port()}", "--state", state)
        assert second.returncode not in (0, -signal.SIGKILL)
        assert "Traceback" not in second.stderr
        assert "error:" in second.stderr


def test_a_broken_configuration_never_serves(tmp_path: Path) -> None:
    (tmp_path / "platform.yml").write_text("service: {listen: nowhere}\nunknown: 1\n")
    refused = uici("serve", "--config", str(tmp_path))
    assert refused.returncode == 1
    assert f"{tmp_path}/platform.yml:1:" in refused.stdout
    assert f"{tmp_path}/platform.yml:2:1: " in refused.stdout
