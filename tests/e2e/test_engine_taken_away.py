"""The Docker daemon is taken away in the middle of a restart, and comes back: proved or told, and sent once."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.server import Server, alert, payload
from tests.e2e.test_crashes import VERIFY, site, stuck_slots
from tests.real.docker import IMAGE, DockerEngine
from tests.waiting import until

pytestmark = [pytest.mark.component("docker"), pytest.mark.timeout(240)]
# Takes three seconds to stop, so that a restart has a middle.
STUBBORN = ["sh", "-c", "trap '' TERM; echo begun; while :; do sleep 0.2; done"]


class Witness:
    """What the engine said that it did to a container, as it said it: a daemon forgets its events when it ends."""

    def __init__(self, engine: DockerEngine, container: str) -> None:
        self._engine, self._container = engine, container
        self.actions: list[str] = []
        self._threads: list[threading.Thread] = []

    def listen(self) -> None:
        thread = threading.Thread(target=self._listen, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        client = self._engine.client(timeout=300)
        stream = client.events(decode=True, filters={"type": "container", "container": self._container})
        try:
            for event in stream:
                self.actions.append(event["Action"])
        except Exception as error:  # the daemon was taken away, in one of the library's many words for it
            self.actions.append(f"lost: {type(error).__name__}")


def take_away_and_back(engine: DockerEngine, how: str) -> tuple[Callable[[], None], Callable[[], None]]:
    if how == "SIGSTOP":
        return engine.pause, engine.resume
    return (engine.stop if how == "SIGTERM" else engine.kill), engine.start


@pytest.mark.parametrize("how", ["SIGSTOP", "SIGTERM", "SIGKILL"])
def test_a_daemon_that_goes_in_the_middle_of_a_restart(how: str, docker_engine: DockerEngine, tmp_path: Path) -> None:
    if not docker_engine.is_own:
        pytest.skip("this engine is somebody else's and stays as it is")
    name = f"web-{secrets.token_hex(4)}"
    client = docker_engine.client()
    host = client.create_host_config(network_mode="none")
    container = client.create_container(f"{IMAGE}:good", STUBBORN, name=name, host_config=host)["Id"]
    client.start(container)
    witness = Witness(docker_engine, container)
    witness.listen()
    until(lambda: begun(client, container) == 1, "the service")
    remedies = [{"name": "restart", "steps": ["restart_service"], "verify": VERIFY}]
    config = site(tmp_path / "site", docker_engine, name, remedies)
    targets = config / "targets.yml"
    targets.write_text(targets.read_text().replace('"stop_seconds": 1', '"stop_seconds": 3'))
    away, back = take_away_and_back(docker_engine, how)
    with Server(config) as uici:
        accepted = uici.send(payload(alert("Broken", "web", fingerprint=secrets.token_hex(8))))
        run = uici.get(f"/incidents/{accepted.json()['incidents'][0]['id']}")["run"]
        until(
            lambda: [call["settled_at"] for call in uici.get(f"/runs/{run}")["calls"]] == [None],
            "the call to be under way",
            lambda: uici.explain(run),
        )
        away()
        try:
            # One environment that is away does not make UICI unready, and is told.
            assert uici.http.get("/readyz").status_code == 200
            (docker,) = [one for one in uici.get("/environments")["environments"] if one["name"] == "docker"]
            assert docker["reachable"] is False
            assert docker["detail"]
            other = uici.send(payload(alert("Broken", "web", fingerprint=secrets.token_hex(8))))
            assert other.status_code == 202
            assert uici.get(f"/runs/{run}")["state"] != "ended"
        finally:
            back()
        if how != "SIGSTOP":
            witness.listen()
        ended = uici.ended(run)
        assert ended["outcome"] in ("healed", "escalated"), uici.explain(run)
        assert stuck_slots(config) == []
        (docker,) = [one for one in uici.get("/environments")["environments"] if one["name"] == "docker"]
        assert docker["reachable"] is True
        told = uici.explain(run)
    sent = witness.actions.count("restart")
    assert sent <= 1, (witness.actions, told)
    client = docker_engine.client()
    starts = begun(client, container)
    assert starts <= 2, (witness.actions, told)
    if ended["outcome"] == "healed":
        assert starts == 2, (witness.actions, told)
    else:
        assert "unknown" in ended["reason"] or "could not be" in ended["reason"], told
    client.remove_container(container, force=True)
    client.close()


def begun(client: object, container: str) -> int:
    """How often the service itself says that it began."""
    logs: bytes = client.logs(container)  # type: ignore[attr-defined]  # the SDK has no types here
    return logs.count(b"begun")
