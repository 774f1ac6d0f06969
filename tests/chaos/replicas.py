"""Replicas of UICI as processes of their own, each behind a network of its own, and who could work when."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from tests.chaos.history import Absence, Watch
from tests.chaos.proxy import Proxy
from tests.real.components import REPOSITORY, faketime_library, free_port
from tests.waiting import until

_ENTRY = "from tests.chaos.platform import replica; replica()"
_START_SECONDS = 240.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.4


class Replica:
    """One `uici serve` on the shared state, which it reaches through `network` alone."""

    def __init__(self, index: int, config: Path, state: str, network: Proxy, environment: Mapping[str, str]) -> None:
        self.index = index
        self.network = network
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = config.parent / f"replica-{index}.log"
        self._config = config
        self._state = state
        self._environment = dict(environment)
        self._clock = config.parent / f"replica-{index}.clock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def worker(self) -> str:
        """As its name among the workers begins."""
        return f"{socket.gethostname()}-{self.process.pid}"

    def start(self) -> None:
        """Start it; does not wait until it is ready."""
        argv = ["serve", "--config", str(self._config), "--state", self._state, "--listen", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _ENTRY, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), **self._environment, **self._faketime()},
                cwd=self._config.parent,
            )

    def set_clock(self, offset: str) -> bool:
        """Have its clock differ from the machine's; whether that can be done."""
        beside = self._clock.with_suffix(".new")
        beside.write_text(f"{offset}\n")
        beside.replace(self._clock)
        return faketime_library() is not None

    def runs(self) -> bool:
        return self.process.poll() is None

    def tail(self) -> str:
        """The end of what it has logged."""
        return self.log.read_text(errors="replace")[-4000:]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def _faketime(self) -> dict[str, str]:
        library = faketime_library()
        if library is None or not self._clock.exists():
            return {}
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
            "NO_FAKE_STAT": "1",
        }


class Fleet:
    """All replicas. What ends is started again; who could take over when is written down."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.absences: list[Absence] = []
        self.watches: list[Watch] = []
        self.ended: list[tuple[int, int]] = []
        """Replicas that ended without having been told to, and how."""
        self._lock = threading.Lock()
        self._disturbed = [0 for _ in replicas]
        self._able_since: list[float | None] = [None for _ in replicas]
        self._expected_down = [False for _ in replicas]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="chaos-fleet", daemon=True)
        self._http = httpx.Client(trust_env=False, timeout=5.0)

    def start(self) -> None:
        """Start all, and return when each is ready."""
        for replica in self.replicas:
            replica.start()
        self.wait_ready(_START_SECONDS)
        self._thread.start()

    def ready(self, replica: Replica) -> bool:
        """Whether it says so itself. Raises AssertionError when it cannot even start."""
        try:
            return self._http.get(f"{replica.url}/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_ready(self, seconds: float) -> None:
        """Return when all are ready. Raises AssertionError."""
        for replica in self.replicas:
            until(partial(self.ready, replica), f"replica {replica.index} to be ready", replica.tail, seconds=seconds)

    @contextmanager
    def disturbing(self, *indices: int) -> Iterator[None]:
        """These may not be able to take anything over until the block ends."""
        with self._lock:
            for index in indices:
                self._disturbed[index] += 1
                self._close(index)
        try:
            yield
        finally:
            with self._lock:
                for index in indices:
                    self._disturbed[index] -= 1

    def kill(self, index: int, down_seconds: float) -> None:
        """As the kernel does, and start it again after a while."""
        replica = self.replicas[index]
        with self.disturbing(index), self._down(index):
            worker, at = replica.worker, time.monotonic()
            replica.signal(signal.SIGKILL)
            replica.process.wait()
            self.absences.append(Absence(worker, at, None))
            time.sleep(down_seconds)
            replica.start()

    def restart(self, index: int) -> int | None:
        """As a rolling upgrade does; its exit status, None where it had to be killed."""
        replica = self.replicas[index]
        with self.disturbing(index), self._down(index):
            status = self._terminate(replica)
            replica.start()
        return status

    def freeze_process(self, index: int, seconds: float) -> None:
        """Stop it in its midst for a while: the zombie, when that is longer than the takeover."""
        replica = self.replicas[index]
        with self.disturbing(index):
            worker, at = replica.worker, time.monotonic()
            replica.signal(signal.SIGSTOP)
            time.sleep(seconds)
            # The end first: from now on it may hold something again.
            self.absences.append(Absence(worker, at, time.monotonic()))
            replica.signal(signal.SIGCONT)

    def stop(self) -> list[int | None]:
        """End all in order; their exit statuses."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for index in range(len(self.replicas)):
            with self.disturbing(index):
                pass
        statuses = [self._terminate(replica) for replica in self.replicas]
        self._http.close()
        return statuses

    def _terminate(self, replica: Replica) -> int | None:
        replica.process.terminate()
        try:
            return replica.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            replica.process.kill()
            replica.process.wait()
            return None

    @contextmanager
    def _down(self, index: int) -> Iterator[None]:
        with self._lock:
            self._expected_down[index] = True
        try:
            yield
        finally:
            with self._lock:
                self._expected_down[index] = False

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            for index, replica in enumerate(self.replicas):
                ready = self.ready(replica)
                with self._lock:
                    self._note(index, replica, ready)

    def _note(self, index: int, replica: Replica, ready: bool) -> None:
        if self._expected_down[index]:
            return
        if not replica.runs():
            self._close(index)
            self.absences.append(Absence(replica.worker, time.monotonic(), None))
            self.ended.append((index, replica.process.returncode))
            replica.start()
        elif not ready:
            self._close(index)
        elif self._able_since[index] is None and not self._disturbed[index]:
            self._able_since[index] = time.monotonic()

    def _close(self, index: int) -> None:
        since, self._able_since[index] = self._able_since[index], None
        if since is not None:
            self.watches.append(Watch(index, since, time.monotonic()))
