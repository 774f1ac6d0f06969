"""Replicas of UICI as processes of their own, each behind a network of its own, and who could work when."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from tests.chaos import platform
from tests.chaos.history import Absence
from tests.chaos.nursery import Forked
from tests.chaos.proxy import Proxy
from tests.real.components import faketime_library, free_port
from tests.waiting import until

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
        self._process: Forked | None = None

    @property
    def process(self) -> Forked:
        assert self._process is not None
        return self._process

    @property
    def worker(self) -> str:
        """As its name among the workers begins."""
        return f"{socket.gethostname()}-{self.process.pid}"

    def start(self) -> None:
        """Start it; does not wait until it is ready."""
        argv = ["serve", "--config", str(self._config), "--state", self._state, "--listen", f"127.0.0.1:{self.port}"]
        looks = self._config.parent / "looks"
        self._process = Forked(
            platform.replica, argv, looks, log=self.log, environment=self._environment, clock=self._clock
        )

    def set_clock(self, offset: str) -> bool:
        """Have its clock differ from the machine's; whether that can be done."""
        beside = self._clock.with_suffix(".new")
        beside.write_text(f"{offset}\n")
        beside.replace(self._clock)
        return faketime_library() is not None

    def runs(self) -> bool:
        return self.process.status is None

    def tail(self) -> str:
        """The end of what it has logged."""
        return self.log.read_text(errors="replace")[-4000:]

    def end(self, number: signal.Signals, seconds: float | None = None) -> int | None:
        """Its status after that signal; killed, and None, where it does not end within that time."""
        self.process.signal(number)
        status = self.process.wait(seconds)
        if status is None:
            self.process.signal(signal.SIGKILL)
            self.process.wait()
        return status


class Fleet:
    """All replicas. What ends is started again; who was absent when is written down."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.absences: list[Absence] = []
        self.ended: list[tuple[int, int]] = []
        """Replicas that ended without having been told to, and how."""
        self._lock = threading.Lock()
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

    def kill(self, index: int, down_seconds: float) -> None:
        """As the kernel does, and start it again after a while."""
        replica = self.replicas[index]
        with self._down(index):
            worker, at = replica.worker, time.monotonic()
            replica.end(signal.SIGKILL)
            self.absences.append(Absence(worker, at, None))
            time.sleep(down_seconds)
            replica.start()

    def restart(self, index: int) -> int | None:
        """As a rolling upgrade does; its exit status, None where it had to be killed."""
        replica = self.replicas[index]
        with self._down(index):
            status = replica.end(signal.SIGTERM, _STOP_SECONDS)
            replica.start()
        return status

    def freeze_process(self, index: int, seconds: float) -> None:
        """Stop it in its midst for a while: the zombie, when that is longer than the takeover."""
        replica = self.replicas[index]
        worker, at = replica.worker, time.monotonic()
        replica.process.signal(signal.SIGSTOP)
        time.sleep(seconds)
        # The end first: from now on it may hold something again.
        self.absences.append(Absence(worker, at, time.monotonic()))
        replica.process.signal(signal.SIGCONT)

    def stop(self) -> list[int | None]:
        """End all in order; their exit statuses."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        statuses = [replica.end(signal.SIGTERM, _STOP_SECONDS) for replica in self.replicas]
        self._http.close()
        return statuses

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
                with self._lock:
                    if not self._expected_down[index] and not replica.runs():
                        self.absences.append(Absence(replica.worker, time.monotonic(), None))
                        self.ended.append((index, replica.process.status or 0))
                        replica.start()
