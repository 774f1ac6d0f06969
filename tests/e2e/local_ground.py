"""Local programs that the end-to-end tests break, what their supervisor did to them, and what people were told."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from tests.e2e.server import ENTRY, Server, write_site
from tests.real.components import worker
from tests.real.process import end_supervisors, processes
from tests.waiting import until
from uici.model.base import JsonObject

ENVIRONMENT = "local"
_seconds = iter(range(100_000 * (worker() + 1), 100_000 * (worker() + 2)))


def program(name: str, **more: object) -> JsonObject:
    """An entry of targets.yml: a program that sleeps for a time that no other process sleeps."""
    command = ["sleep", str(next(_seconds))]
    return {"bindings": {ENVIRONMENT: {"program": name, "command": command, "stop_seconds": 1}}, **more}


@dataclass(frozen=True)
class LocalGround:
    """A `uici serve` over local programs."""

    uici: Server
    targets: Mapping[str, JsonObject]
    messages: list[JsonObject]
    """What people were told, as their webhook got it."""

    def process(self, target: str) -> psutil.Process | None:
        """The live process of a target."""
        command = self.targets[target]["bindings"][ENVIRONMENT]["command"]
        for process in processes("cmdline", "status"):
            if process.info["cmdline"] == command and process.info["status"] != psutil.STATUS_ZOMBIE:
                return process
        return None

    def start(self, *targets: str) -> None:
        """Let UICI start the targets, as a person would ask for it."""
        for target in targets:
            run = self.uici.run_step(target, "start_service", ENVIRONMENT)
            assert run["verdict"] == "effective", self.uici.explain(run["id"])

    def kill(self, target: str) -> None:
        """End the target's process as a crash would."""
        process = self.process(target)
        assert process is not None
        process.kill()
        until(lambda: self.process(target) is None, f"the death of {target}")

    def spawned(self, target: str) -> int:
        """How often the supervisor has started the target: its own word, not UICI's."""
        return self.spawned_in(self.uici.config / "state", target)

    def spawned_in(self, state: Path, target: str) -> int:
        """As `spawned`, where the state lies elsewhere."""
        log = state / "local/supervisor/supervisord.log"
        if not log.exists():
            return 0
        return len(re.findall(rf"spawned: '{target}\b", log.read_text()))

    def told(self, run: str) -> list[JsonObject]:
        """What people were told of a run."""
        return [message for message in list(self.messages) if message.get("run") == run]


@contextmanager
def local_ground(
    folder: Path, targets: Mapping[str, JsonObject], entry: str = ENTRY, **files: JsonObject
) -> Iterator[LocalGround]:
    """A server over these targets. When the block ends, neither it nor their supervisor is left."""
    messages: list[JsonObject] = []
    with people(messages) as address:
        url = folder / "people"
        url.write_text(address)
        platform = {"notify": {"webhook": f"${{file:{url}}}"}, **files.pop("platform", {})}
        config = write_site(folder / "site", targets={"targets": dict(targets)}, platform=platform, **files)
        try:
            with Server(config, entry=entry) as uici:
                yield LocalGround(uici, targets, messages)
        finally:
            end_supervisors(config)


@contextmanager
def people(messages: list[JsonObject]) -> Iterator[str]:
    """The address of a webhook, and what it was told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            messages.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/told"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
