"""A state directory with a supervisord of its own, and a service that sleeps."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors.local import LocalExecutor
from tests.contract.local_rig import call, environment_of, supervisor_pid
from tests.contract.rig import ALL_LAYERS, NOBODY
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

SLEEPER = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(1000)"]


class Place:
    """A state directory with a supervisord of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder
        self.directory = folder / "supervisor"

    def executor(
        self, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS, **settings: Any
    ) -> LocalExecutor:
        return LocalExecutor(
            ExecutorContext(
                environment="test",
                settings={"settle_seconds": 0.2, **settings},
                identity=identity,
                layers=layers,
                state_directory=str(self.state),
            )
        )


@pytest.fixture
def place() -> Iterator[Place]:
    # A short path, so that supervisord's socket stands where its other files do.
    with tempfile.TemporaryDirectory(prefix="uici-") as folder:
        place = Place(Path(folder))
        yield place
        for note in (place.directory / "run").glob("*.json"):
            end_orphan(json.loads(note.read_text()))
        end_supervisors(place.directory)


def end_orphan(note: JsonObject) -> None:
    with contextlib.suppress(OSError, psutil.Error):
        if os.getpgid(note["pid"]) == note["pid"]:
            os.killpg(note["pid"], signal.SIGKILL)


def sleeper(**more: Any) -> JsonObject:
    return {"program": "sleeper", "command": SLEEPER, "stop_seconds": 1.0, **more}


def pid_of(executor: LocalExecutor, binding: JsonObject) -> int:
    """Of its first instance, once that is the service itself: what is killed sooner has left no note of itself."""
    pid = int(call(executor, "program.status", target=binding)["instances"][0]["pid"])
    environment_of(pid)
    return pid


def kill_supervisor(place: Place) -> None:
    pid = supervisor_pid(place.directory)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "supervisord is dead")


def refused(executor: LocalExecutor, name: str, **arguments: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        call(executor, name, **arguments)
    return caught.value
