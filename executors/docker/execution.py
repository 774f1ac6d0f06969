"""Running a program inside a container, with its input, its output while it comes, and its end when time is over."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
import structlog

from executors.deadline import Deadline
from executors.diagnostics import END_MARKED, MARK, LookLimits, Output
from executors.docker.engine import Engine
from executors.docker.readings import demultiplexed
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_log = structlog.get_logger(__name__)
_END_SECONDS = 5.0
_KILLED_SECONDS = 1.5
"""After SIGKILL."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Program:
    """What to run; no shell reads any of it."""

    argv: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: str | None = field(default=None, repr=False)
    user: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Values that no message may repeat."""
        return (*self.argv, *self.environment.values(), *((self.stdin,) if self.stdin else ()))


class Execution:
    """Programs in one engine's containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(
        self, container_id: str, name: str, program: Program, deadline: Deadline, limit: int, *, mutates: bool
    ) -> tuple[str, Output]:
        """Run it until it ends, `limit` bytes were written or time is over; the exec's id and what came.

        Raises CallError PERMANENT `program_not_started` when it could not be started; TEMPORARY (UNKNOWN when it
        `mutates`) when the engine was lost.
        """
        body: JsonObject = {
            "AttachStdin": program.stdin is not None,
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": list(program.argv),
            "Env": [f"{key}={value}" for key, value in program.environment.items()],
            **({"User": program.user} if program.user else {}),
        }
        path = ("containers", container_id, "exec")
        # Nothing runs yet, so a failure here has changed nothing.
        made = self._engine.request("POST", path, None, body, deadline=deadline, secrets=program.texts).json()
        exec_id = str(made["Id"])
        start: JsonObject = {"Detach": False, "Tty": False}
        with self._engine.attached(("exec", exec_id, "start"), start, deadline, mutates, program.texts) as stream:
            if program.stdin is not None:
                stream.send(program.stdin.encode("utf-8"), deadline)
            # A frame's head is eight bytes, so small writes come with more of them than of output.
            raw, whole = stream.read(deadline, limit * 9 + 8)
        content = demultiplexed(raw)
        ended = self._ended(exec_id) if whole else {}
        code = ended.get("ExitCode")
        if code in (126, 127) and b"OCI runtime exec failed" in content:
            raise CallError(
                FailureKind.PERMANENT,
                "program_not_started",
                f"container {name!r} on {self._engine.where} could not start the program (exit code {code}); "
                "check that the image has it and that it may be executed",
            )
        cut = not whole and deadline.left() > 0
        return exec_id, Output(
            content=content[:limit],
            exit_code=code if whole else None,
            cut=cut or len(content) > limit,
            timed_out=not whole and not cut,
        )

    def diagnose(self, container_id: str, name: str, argv: Sequence[str], limits: LookLimits) -> Output:
        """Run `argv` within the limits; nothing of it is left when this returns.

        Raises CallError as `run`, and PERMANENT `diagnostic_not_ended` when it could not be ended.
        """
        mark = f"{MARK}={secrets.token_hex(16)}"
        key, _, value = mark.partition("=")
        deadline = Deadline(limits.diagnostic_seconds)
        program = Program(argv, {key: value})
        exec_id, output = self.run(container_id, name, program, deadline, limits.output_bytes, mutates=False)
        if output.exit_code is None:
            self._end(exec_id, container_id, name, mark)
        return output

    def _ended(self, exec_id: str, seconds: float = _END_SECONDS) -> JsonObject:
        """What the engine says of an exec whose output has ended; the exit code follows it by a moment."""
        deadline = Deadline(seconds)
        while True:
            found = dict(self._engine.get(("exec", exec_id, "json")).json() or {})
            if not found.get("Running") or deadline.left() == 0:
                return found
            time.sleep(_POLL_SECONDS)

    def _end(self, exec_id: str, container_id: str, name: str, mark: str) -> None:
        """The engine has no call that ends an exec: from inside with the container's shell, else from this machine."""
        for attempt in range(2):
            shell = Program(("sh", "-c", END_MARKED, "sh", mark))
            with suppress(CallError):
                self.run(container_id, name, shell, Deadline(_END_SECONDS), 1024, mutates=False)
            if attempt == 1:
                self._end_from_here(exec_id, mark)
            if not self._ended(exec_id, _KILLED_SECONDS).get("Running"):
                return
        _log.warning("diagnostic_not_ended", environment=self._engine.environment, container=name)
        raise CallError(
            FailureKind.PERMANENT,
            "diagnostic_not_ended",
            f"a diagnostic of container {name!r} on {self._engine.where} took too long and still runs: the container "
            "has no shell to end it with, and its processes are not on this machine; end it by hand",
        )

    def _end_from_here(self, exec_id: str, mark: str) -> None:
        pid = self._engine.get(("exec", exec_id, "json")).json().get("Pid") or 0
        key, _, value = mark.partition("=")
        with suppress(psutil.Error):
            process = psutil.Process(int(pid))
            # The same number may be another process, if the engine is on another machine.
            for one in (*process.children(recursive=True), process):
                if one.environ().get(key) == value:
                    one.kill()
