"""Several `uici serve` on one PostgreSQL, over local programs of one supervisor: each a process that may die alone."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.local_ground import LocalGround, program
from tests.e2e.server import Server, alert, payload, write_site
from tests.real.components import REPOSITORY
from tests.real.postgres import Postgres
from tests.real.process import end_supervisors
from tests.waiting import PATIENCE_SECONDS, until
from uici.access.roles import Role
from uici.model.base import JsonObject

Record = Callable[[str, object], None]
"""Pytest's `record_property`, for what was measured: it stands in the report of `--junit-xml`."""
TAKEOVER_SECONDS = 3.0
ENTRY = "from tests.e2e.faulty import main; main()"
VERIFY: JsonObject = {"within": 30, "stable_for": 0.2, "confirm_within": 0, "interval": 0.2}
STRATEGIES: JsonObject = {
    "strategies": {
        "down": {
            "match": ['alertname="Down"'],
            "remedies": [{"name": "start", "steps": ["start_service"], "verify": VERIFY}],
        },
        "slow": {
            "match": ['alertname="Slow"'],
            "remedies": [
                {
                    "name": "later",
                    "steps": [{"operation": "wait", "parameters": {"seconds": 2}}, "start_service"],
                    "verify": VERIFY,
                }
            ],
        },
        "asks": {"match": ['alertname="Asks"'], "remedies": [{"name": "stop", "steps": ["stop_service"]}]},
    }
}
POLICIES: JsonObject = {
    "autonomy": "auto",
    "cooldown": {"seconds": 0},
    "risk": {"auto_approve_up_to": "medium"},
    "blast_radius": {"max_concurrent": 100, "max_per_hour": 10000, "min_healthy": 0},
}


class Replicas:
    """Servers that share a state. `start` them, and look at any of them."""

    def __init__(
        self, folder: Path, state: str, *programs: str, strategies: JsonObject | None = None, **platform: JsonObject
    ) -> None:
        self.state = state
        self.home = folder / "home"
        self.targets = {name: program(name) for name in programs}
        shared = {"state": state, "runs": {"takeover_seconds": TAKEOVER_SECONDS, "sweep_seconds": 0.5}, **platform}
        self.config = write_site(
            folder / "site",
            targets={"targets": self.targets},
            strategies={"strategies": {**STRATEGIES["strategies"], **(strategies or {})}},
            policies=POLICIES,
            platform=shared,
        )
        self.all: list[Server] = []
        self.ground: LocalGround | None = None

    def add(
        self, environment: Mapping[str, str] | None = None, *, config: Path | None = None, wait: bool = True
    ) -> Server:
        """One more; with `wait` it is at work."""
        name = f"replica{len(self.all)}"
        server = Server(config or self.config, entry=ENTRY, name=name, like=self.all[0] if self.all else None)
        self.all.append(server)
        self.start(server, environment, wait=wait)
        if self.ground is None:
            self.ground = LocalGround(server, self.targets, [])
        return server

    def add_at_once(self, count: int) -> list[Server]:
        """So many more, at work."""
        added = [self.add(wait=False) for _ in range(count)]
        for server in added:
            until(server.ready, "uici serve to be ready", server.tail, seconds=count * PATIENCE_SECONDS)
        return added

    def start(self, server: Server, environment: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        """Start one of them, again."""
        own = {"XDG_STATE_HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}
        server.start({**own, **(environment or {})}, wait=wait)

    def spawned(self, target: str) -> int:
        """How often the supervisor has started the target."""
        assert self.ground is not None
        return self.ground.spawned_in(self.home / "uici", target)

    def kill_program(self, target: str) -> None:
        """End a target's process as a crash does."""
        assert self.ground is not None
        self.ground.kill(target)

    def lives(self, target: str) -> bool:
        """Whether the target's process runs."""
        assert self.ground is not None
        return self.ground.process(target) is not None

    def alive(self, server: Server) -> list[int]:
        """The process ids of those that one of them lists as at work."""
        return sorted(worker["pid"] for worker in server.get("/workers")["workers"])

    def workers(self, server: Server) -> list[JsonObject]:
        """What `uici workers` prints, through the command line."""
        done = self.command(server, "--server", server.url, "-o", "json", "workers")
        assert done.returncode == 0, done.stderr
        found: list[JsonObject] = json.loads(done.stdout)["workers"]
        return found

    def command(self, server: Server, *words: str) -> subprocess.CompletedProcess[str]:
        """The command line, with the right to look."""
        return subprocess.run(
            [sys.executable, "-c", "from uici.cli import main; main()", *words],
            env={"UICI_TOKEN": server.tokens[Role.VIEWER], "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    def ended(self, incident: str, by: Server) -> JsonObject:
        """The run of an incident once it has ended, as one of them shows it."""
        until(lambda: by.get(f"/incidents/{incident}")["state"] == "closed", f"the end of {incident}", by.tail)
        return by.ended(by.get(f"/incidents/{incident}")["run"])

    def close(self) -> None:
        """End all of them, and their supervisor."""
        for server in self.all:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.kill()
            server.http.close()
        end_supervisors(self.home)


@contextmanager
def replicas(
    folder: Path,
    postgres: Postgres,
    *programs: str,
    strategies: JsonObject | None = None,
    **platform: JsonObject,
) -> Iterator[Replicas]:
    """Nothing started yet, on a database of its own; when the block ends all is ended, orderly or not.

    `strategies` and `platform`: more of what stands in these files.
    """
    name = f"r{secrets.token_hex(6)}"
    with postgres.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name}")
    fleet = Replicas(folder, postgres.database(name), *programs, strategies=strategies, **platform)
    try:
        yield fleet
    finally:
        fleet.close()


def fire(server: Server, target: str, name: str = "Down") -> str:
    """Send a new alert about a target to one of them; the incident's id."""
    answer = server.send(payload(alert(name, target, fingerprint=secrets.token_hex(8))))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["incidents"][0]["id"])
