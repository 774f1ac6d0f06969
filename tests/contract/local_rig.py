"""The rig of the platform `local`: a small HTTP service under a real supervisord."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xmlrpc.client import dumps, loads

import httpx
import psutil
import pytest

from executors.local import LocalExecutor
from tests.calls import call_of
from tests.contract.demands import Demands
from tests.contract.rig import ALL_LAYERS, CANARY, NOBODY
from tests.real.components import worker
from tests.real.haproxy import HAProxy, haproxy
from tests.real.process import end_supervisors, processes
from tests.real.web import web
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

SERVICE = textwrap.dedent(
    """
    import http.server, os, sys, traceback

    data, needs, most = (os.environ.get(name) for name in ("DATA", "NEEDS", "MOST_MEMORY"))
    if most:
        # Not before it is needed: what starts fast is well soon.
        import resource, urllib.request

        resource.setrlimit(resource.RLIMIT_AS, (int(most), int(most)))

    def grow():
        try:
            leak = bytes(1_000_000)
            while True:
                leak += leak
        except MemoryError:
            del leak
            print(traceback.format_exc(), flush=True)
            os._exit(1)

    def is_well():
        if data and os.path.exists(data + "/grow"):
            os.unlink(data + "/grow")
            grow()
        try:
            if data:
                with open(data + "/own", "w") as file:
                    file.write("x")
                os.unlink(data + "/own")
            if needs:
                urllib.request.urlopen(needs, timeout=1).close()
        except OSError as error:
            print(error, flush=True)
            open(data + "/ill", "w").close()
            return False
        return os.environ["HEALTH"] == "good"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if is_well() else 500)
            self.end_headers()
        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        allow_reuse_port = True

    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    print("ready", os.environ["UICI_INSTANCE"], flush=True)
    server.serve_forever()
    """
)
PROGRAM = "victim"
_CHANGE = re.compile(r" (spawned|stopped|killing|reaped|entered RUNNING|received|waiting for)\b|success:")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(executor: LocalExecutor, name: str, **arguments: object) -> JsonObject:
    return executor.perform(make_call(name, **arguments))


def make_call(name: str, **arguments: object) -> Call:
    return call_of(LocalExecutor, name, arguments)


def diagnostics(shell: str, sleep: str) -> JsonObject:
    """What a rig's binding allows; see tests.contract.rig.Rig.reset. The names are told apart by their durations."""
    stuck = f"{sleep} {SLEEPS['stuck']} & {sleep} {SLEEPS['stuck']}"
    return {
        "greet": [shell, "-c", "echo hello; exit 3"],
        "env": [shell, "-c", "env"],
        "endless": [shell, "-c", f"{sleep} {SLEEPS['endless']} & yes 0123456789"],
        "stuck": [shell, "-c", f"echo begun; {stuck}"],
    }


# Told apart by how long they sleep, also from those of other workers.
SLEEPS = {"stuck": str(86_399 - 2 * worker()), "endless": str(86_398 - 2 * worker())}


def sleepers(diagnostic: str) -> list[int]:
    """Processes that a diagnostic of `diagnostics` started and that live."""
    return [
        process.pid
        for process in processes("cmdline", "status")
        if SLEEPS[diagnostic] in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


class LocalRig:
    """See tests.contract.rig.Rig."""

    platform = "local"
    prefix = "program"
    cannot: Mapping[str, str] = {}
    crashed = "exited"
    patience: Mapping[str, JsonObject] = {}

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "supervisor"
        self._service = folder / "service.py"
        self._service.write_text(SERVICE)
        self._port = free_port()
        self._litter = folder / "litter"
        self._meant: list[Path] = []
        self._spared: list[Path] = []
        self._balancer: HAProxy | None = None
        self._stack = contextlib.ExitStack()
        self._demands = Demands(self._stack, folder)
        self._demanding: JsonObject = {}
        self._owner = LocalExecutor(
            ExecutorContext(
                environment="rig",
                settings={"directory": str(self.directory), "settle_seconds": 0.1},
                identity=NOBODY,
            )
        )

    def connection(self) -> JsonObject:
        # Does not manage: what the suite makes unreachable is to stay so until the rig brings it back.
        return {
            "directory": str(self.directory),
            "manage": False,
            "settle_seconds": 0.1,
            "limits": {"diagnostic_seconds": 1.0},
        }

    def executor(self, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS) -> LocalExecutor:
        return LocalExecutor(
            ExecutorContext(environment="rig", settings=self.connection(), identity=identity, layers=layers)
        )

    def binding(self) -> JsonObject:
        return {
            "program": PROGRAM,
            "command": [sys.executable, "-S", str(self._service)],
            "environment": {"PORT": str(self._port), "SECRET_CANARY": CANARY, "COLOUR": "blue", **self._demanding},
            "versions": {"good": {"environment": {"HEALTH": "good"}}, "bad": {"environment": {"HEALTH": "bad"}}},
            "version": "good",
            "health": {"http": f"http://127.0.0.1:{self._port}/", "timeout": 1.0},
            "stop_seconds": 1.0,
            "diagnostics": diagnostics("/bin/sh", "/bin/sleep"),
            "reclaim": {"globs": [f"{self._litter}/**/*.tmp"], "older_than_seconds": 3600},
            "backend": {
                "haproxy": f"unix:{self.directory.parent}/balancer/admin.sock",
                "backend": "web",
                "server": "a",
            },
        }

    def answers(self) -> bool:
        try:
            return web.get(f"http://127.0.0.1:{self._port}/", timeout=1.0).is_success
        except httpx.TransportError:
            return False

    def balancer(self) -> HAProxy:
        if self._balancer is None:
            servers = {"a": f"127.0.0.1:{self._port}"}
            self._balancer = self._stack.enter_context(haproxy(self.directory.parent / "balancer", servers))
        self._balancer.ask("set server web/a state ready")
        return self._balancer

    def litter(self) -> int:
        """Old files that match; and files that are new, of another name, outside, hidden, or behind a link."""
        shutil.rmtree(self._litter, ignore_errors=True)
        outside = self._litter.parent / "outside"
        outside.mkdir(exist_ok=True)
        (self._litter / "deep").mkdir(parents=True)
        meant = [self._litter / "one.tmp", self._litter / "deep" / "two.tmp"]
        self._spared = [self._litter / "keep.txt", self._litter / ".hidden.tmp", outside / "three.tmp"]
        for path in (*meant, *self._spared):
            path.write_text("x" * 5000)
            os.utime(path, (0, 0))
        self._spared.append(self._litter / "young.tmp")
        self._spared[-1].write_text("young")
        (self._litter / "link").symlink_to(outside)
        (self._litter / "file.tmp").symlink_to(outside / "three.tmp")
        self._meant = meant
        return len(meant)

    def littered(self) -> int:
        gone = [path for path in self._spared if not path.exists()]
        assert not gone, gone
        return sum(path.exists() for path in self._meant)

    def configuration(self) -> JsonObject:
        written: JsonObject = json.loads((self.directory / "programs" / f"{PROGRAM}.json").read_text())
        # How often it was changed only grows; the programs themselves say what they run with.
        running = {}
        for name, pid in self.instances().items():
            variables = environment_of(pid)
            running[name] = {
                "environment": {name: text for name, text in variables.items() if name != "LC_CTYPE"},
                "command": Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"),
                "directory": os.readlink(f"/proc/{pid}/cwd"),
            }
        ini = (self.directory / "programs" / f"{PROGRAM}.ini").read_text()
        return {**{key: value for key, value in written.items() if key != "sequence"}, "running": running, "ini": ini}

    def left_by(self, diagnostic: str) -> list[int]:
        return sleepers(diagnostic)

    def demand(self) -> JsonObject:
        self._demands.meet()
        place = {"DATA": str(self._demands.data), "NEEDS": self._demands.other}
        return self._reset({**place, "MOST_MEMORY": str(512 * 1_048_576)})

    def full(self) -> contextlib.AbstractContextManager[None]:
        return self._demands.full(self.answers)

    def lacking(self) -> contextlib.AbstractContextManager[None]:
        return self._demands.lacking(self.answers)

    def exhaust(self) -> None:
        self._demands.grow()
        assert not self.answers()
        until(lambda: not self.instances(), "supervisord has noticed")

    def drained(self) -> contextlib.AbstractContextManager[None]:
        pytest.skip("a supervisor has one host, and no list of hosts to take it from: see host_gone")

    def reset(self) -> JsonObject:
        return self._reset({})

    def _reset(self, demanding: JsonObject) -> JsonObject:
        self._demanding = demanding
        binding = self.binding()
        for file in (self.directory / "programs").glob(f"{PROGRAM}.json"):
            call(self._owner, "program.stop", target=binding)
            file.unlink()
        call(self._owner, "program.restart", target=binding)
        until(lambda: bool(call(self._owner, "program.health", target=binding)["healthy"]), "the service is healthy")
        return binding

    def version(self, name: str) -> str:
        return name

    def version_now(self) -> str:
        return self.environment_now()["HEALTH"]

    def environment_now(self) -> dict[str, str]:
        return environment_of(min(self.instances().items())[1])

    def instances(self) -> dict[str, int]:
        ours = re.compile(rf"{PROGRAM}-\d+")
        running = [one for one in self._ask("getAllProcessInfo") if one["statename"] == "RUNNING"]
        return {one["name"]: one["pid"] for one in running if ours.fullmatch(one["name"])}

    def crash(self, lasting: bool = False) -> None:
        pids = self.instances().values()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not self.instances(), "supervisord has noticed")

    def stop(self) -> None:
        for name in self.instances():
            self._ask("stopProcess", name)
        until(lambda: not self.instances(), "it is stopped")

    def hang(self) -> None:
        for pid in self.instances().values():
            os.kill(pid, signal.SIGSTOP)

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        path = self.directory / "supervisor.sock"
        aside = self.directory / "aside.sock"
        path.rename(aside)
        try:
            yield
        finally:
            aside.rename(path)

    def mutations(self) -> int:
        lines = (self.directory / "supervisord.log").read_text().splitlines()
        return sum(_CHANGE.search(line) is not None for line in lines)

    def named(self, text: str) -> JsonObject:
        return {"program": text}

    def self_by_name(self) -> SelfIdentity:
        return SelfIdentity(names=frozenset({PROGRAM}))

    def self_by_id(self) -> SelfIdentity:
        return SelfIdentity(pids=frozenset(self.instances().values()))

    def open_read(self) -> tuple[str, JsonObject]:
        return "supervisor.rpc", {"method": "getProcessInfo", "params": [f"{PROGRAM}-0"]}

    def open_change(self) -> tuple[str, JsonObject]:
        return "supervisor.rpc", {"method": "supervisor.stopProcess", "params": [f"{PROGRAM}-0"]}

    def close(self) -> None:
        self._stack.close()
        end_supervisors(self.directory)

    def _ask(self, method: str, *parameters: Any) -> Any:
        """What supervisord answers, asked without the executor; not with supervisorctl, which takes long to start."""
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.directory / "supervisor.sock"), verify=False)
        ) as client:
            answer = client.post("http://supervisord/RPC2", content=dumps(parameters, f"supervisor.{method}"))
        return loads(answer.content)[0][0]


def environment_of(pid: int) -> dict[str, str]:
    """The variables of a service's process, once it is that; before, it is its supervisord's and its launcher's.

    Only the launcher sets UICI_INSTANCE, and only for what it becomes.
    """

    def variables() -> dict[str, str] | None:
        # Read raw: psutil's environ() turns carriage returns into newlines.
        raw = Path(f"/proc/{pid}/environ").read_bytes()
        found = dict(item.decode().split("=", 1) for item in raw.split(b"\0") if item)
        return found if "UICI_INSTANCE" in found else None

    return until(variables, f"process {pid} to be a service")


def supervisor_pid(directory: Path) -> int:
    return int((directory / "supervisord.pid").read_text())
