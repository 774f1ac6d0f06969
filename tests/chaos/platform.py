"""The platform of chaos: a process of its own, which outlives every replica and writes down each mutating call.

`python -m tests.chaos.platform PORT FILE SEED` serves the services of `tests.doubles.memory_executor` over HTTP. Some
calls it refuses, of some it loses the answer, some take long; a call goes on when its client has died. `RemoteExecutor`
is the executor that asks it; `replica` is the entry of a `uici serve` that has it in the place of the platform `local`.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from executors.local import LocalExecutor
from tests.chaos.history import Stream, worker_of
from tests.doubles.memory_executor import BAD, World
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind, Happened
from uici.model.identity import SelfIdentity
from uici.ports import Executor, ExecutorContext
from uici.runs.workers import Workers

PLATFORM = "UICI_TEST_CHAOS_PLATFORM"
"""Its URL, for the replicas."""
_REFUSED, _LOST, _SLOW = 0.05, 0.05, 0.10
_USUAL_SECONDS, _SLOW_SECONDS = 0.5, 2.5
"""So long that faults fall into them; the slowest is well below the time in flight that the calls declare."""


class Platform:
    """Its services, and what is written down of them."""

    def __init__(self, file: Path, seed: int) -> None:
        self._world = World()
        context = ExecutorContext(environment="local", settings={}, identity=SelfIdentity())
        self._executor: Executor = self._world.executor_class()(context)
        self._stream = Stream(file)
        self._seed = seed
        self._ids = itertools.count()
        self._sent: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._under_way = 0

    def busy(self) -> bool:
        """Whether a change is under way now."""
        return self._under_way > 0

    def perform(self, call: Call) -> JsonObject | None:
        """Carry it out; None where the answer is to be lost. Raises CallError."""
        if not call.mutates:
            return self._executor.perform(call)
        target = call.arguments["target"]["program"]
        with self._lock:
            id_, self._sent[target] = next(self._ids), self._sent[target] + 1
            drawn = random.Random(f"{self._seed}:{target}:{self._sent[target]}")
            self._under_way += 1
        self._stream.add(id=id_, at=time.monotonic(), target=target, name=call.name, key=call.key)
        try:
            return self._change(call, id_, drawn)
        finally:
            with self._lock:
                self._under_way -= 1

    def _change(self, call: Call, id_: int, drawn: random.Random) -> JsonObject | None:
        fate = drawn.random()
        time.sleep(drawn.random() * (_SLOW_SECONDS if drawn.random() < _SLOW else _USUAL_SECONDS))
        if fate < _REFUSED:
            self._stream.add(id=id_, at=time.monotonic(), did=False)
            raise CallError(FailureKind.TEMPORARY, "busy", "the platform refused it before it began")
        result = self._executor.perform(call)
        self._stream.add(id=id_, at=time.monotonic(), did=True)
        return None if fate > 1 - _LOST else result

    def before(self, call: Call) -> JsonObject:
        return self._executor.before(call)

    def happened(self, call: Call, before: JsonObject) -> str:
        return self._executor.happened(call, before).value

    def spoil(self, program: str, bad: bool) -> None:
        """Break a service: so that a restart helps, or only another version."""
        service = self._world.service(program)
        service.state = "exited"
        if bad:
            service.version = BAD


class RemoteExecutor(LocalExecutor):
    """What `local` publishes, carried out by the platform of chaos."""

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(context)
        self._http = httpx.Client(base_url=os.environ[PLATFORM], trust_env=False, timeout=30.0)

    def perform(self, call: Call) -> JsonObject:
        answer: JsonObject = self._ask("perform", call=call.model_dump(mode="json"))
        return answer

    def before(self, call: Call) -> JsonObject:
        answer: JsonObject = self._ask("before", call=call.model_dump(mode="json"))
        return answer

    def happened(self, call: Call, before: JsonObject) -> Happened:
        return Happened(self._ask("happened", call=call.model_dump(mode="json"), before=before))

    def close(self) -> None:
        self._http.close()

    def _ask(self, what: str, **body: object) -> Any:
        try:
            answer = self._http.post(f"/{what}", json=body)
        except httpx.ConnectError as error:
            raise CallError(FailureKind.TEMPORARY, "platform_unreachable", str(error)) from error
        except httpx.HTTPError as error:
            raise CallError(FailureKind.UNKNOWN, "answer_lost", f"{type(error).__name__}: {error}") from error
        document = answer.json()
        if answer.status_code != httpx.codes.OK:
            raise CallError(FailureKind(document["kind"]), document["code"], document["message"])
        return document


def replica(argv: list[str], looks: Path) -> None:
    """Be a `uici` whose platform `local` is the platform of chaos, and that writes its looks at the others down."""
    from uici.bootstrap import application
    from uici.catalogue.executors import discover_executors
    from uici.cli import main as uici

    if "LD_PRELOAD" in os.environ:
        # libfaketime 0.9.10 makes clock_nanosleep, which Python sleeps by, fail; waiting for a lock it leaves alone.
        vars(time)["sleep"] = lambda seconds: threading.Event().wait(seconds) and None
    vars(application)["discover_executors"] = lambda: {**discover_executors(), "local": RemoteExecutor}
    _write_looks(looks)
    sys.argv = ["uici", *argv]
    uici()


def _write_looks(file: Path) -> None:
    """Have each look that this process takes at the others, once it has ended well, written down as a line."""
    look = Workers.alive
    output = file.open("a")  # lines so short are whole, whoever else adds to them

    def written(workers: Workers) -> set[str]:
        seen = look(workers)
        output.write(f"{worker_of(workers.id)} {time.monotonic()}\n")
        output.flush()
        return seen

    type.__setattr__(Workers, "alive", written)


def _handler(platform: Platform) -> type[BaseHTTPRequestHandler]:
    routes: dict[str, Callable[[JsonObject], Any]] = {
        "/busy": lambda body: platform.busy(),
        "/perform": lambda body: platform.perform(Call.model_validate(body["call"])),
        "/before": lambda body: platform.before(Call.model_validate(body["call"])),
        "/happened": lambda body: platform.happened(Call.model_validate(body["call"]), body["before"]),
        "/spoil": lambda body: platform.spoil(**body) or {},  # type: ignore[func-returns-value]  # it answers nothing
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer, status = routes[self.path](body), 200
            except CallError as error:
                answer, status = {"kind": error.kind.value, "code": error.code, "message": error.message}, 409
            if answer is None:
                self.close_connection = True
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing: the stream tells."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed wants no answer."""


def main() -> None:
    """Serve until killed, or until whoever has the other end of standard input is gone."""
    port, file, seed = sys.argv[1:]
    server = _Server(("127.0.0.1", int(port)), _handler(Platform(Path(file), int(seed))))

    def end() -> None:
        sys.stdin.read()
        server.shutdown()

    threading.Thread(target=end, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
