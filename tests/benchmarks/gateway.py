"""What the council adds to a model that takes no time, beside LiteLLM's proxy and the barest gateway, in one run."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.benchmarks import models
from tests.benchmarks.measuring import Figure, Ratio, Result, timed
from tests.benchmarks.models import Served
from tests.benchmarks.served import Connection, volley

_ROUNDS = 3
_SERIAL = 150
_VOLLEY = 600
_CONNECTIONS = 16
_RATE = 50.0
_RATE_SECONDS = 6.0
_LOAD_SECONDS = 60.0
_LOAD_CONNECTIONS = 4
_MIB = 2**20
_FIFTH = 0.2
_P95_GOAL_MS = 5.0


def measure(folder: Path) -> Result:
    """All are started at once and asked in turn, so that a busy moment of the machine hits each of them."""
    with ExitStack() as stack:
        programs = models.litellm_programs(folder / "litellm-venv")
        model = stack.enter_context(models.a_model())
        floor = stack.enter_context(models.the_floor(model))
        council = stack.enter_context(models.the_council(folder / "council", model))
        all_ = [model, floor, council]
        other = None
        if programs is not None:
            other = stack.enter_context(models.litellm(folder / "litellm", model, programs))
            all_.append(other)
        taken = {each.name: _Taken() for each in all_}
        for _ in range(_ROUNDS):
            for each in all_:
                taken[each.name].round(each)
        facts: dict[str, str | int | float] = {}
        for each in all_[1:]:
            facts |= _growth(each)
    return _result(taken, model, floor, council, other, facts)


class _Taken:
    """What was measured of one process."""

    def __init__(self) -> None:
        self.serial: list[float] = []
        self.at_rate: list[float] = []
        self.first: list[float] = []
        self.rates: list[float] = []

    def round(self, served: Served) -> None:
        """Once more."""
        self.serial += _on(served, lambda connection: timed(lambda: _good(connection, served), count=_SERIAL))
        self.first += timed(lambda: _first_content(served), count=_SERIAL)
        seconds, _ = volley(served.port, [served.request()] * _VOLLEY, connections=_CONNECTIONS, wanted=200)
        self.rates.append(_VOLLEY / seconds)
        self.at_rate += _at_rate(served)


def _result(
    taken: dict[str, _Taken],
    model: Served,
    floor: Served,
    council: Served,
    other: Served | None,
    facts: dict[str, str | int | float],
) -> Result:
    figures = []
    for name, each in taken.items():
        figures += [
            Figure.of(f"{name}: one client", each.serial),
            Figure.of(f"{name}: first content of a stream", each.first),
            Figure.of(f"{name}: at {_RATE:.0f} requests/s", each.at_rate),
        ]
    direct, own = taken[model.name], taken[council.name]

    def added(one: list[float], base: list[float], cut: Callable[[list[float]], float]) -> float:
        return max(cut(one) - cut(base), 0.001)

    ratios = []
    for beside in (floor, other):
        if beside is None:
            continue
        theirs = taken[beside.name]
        is_litellm = beside is other
        median = added(theirs.serial, direct.serial, statistics.median)
        first = added(theirs.first, direct.first, statistics.median)
        ratios += [
            Ratio(
                "added by the council, median of one client",
                added(own.serial, direct.serial, statistics.median),
                beside.name,
                median,
                "ms",
                median * _FIFTH if is_litellm else None,
            ),
            Ratio(
                "added by the council, p95 of one client",
                added(own.serial, direct.serial, _p95),
                beside.name,
                added(theirs.serial, direct.serial, _p95),
                "ms",
            ),
            Ratio(
                "added to the first content of a stream, median",
                added(own.first, direct.first, statistics.median),
                beside.name,
                first,
                "ms",
                first * _FIFTH if is_litellm else None,
            ),
            Ratio(
                f"added at {_RATE:.0f} requests/s, p95",
                added(own.at_rate, direct.at_rate, _p95),
                beside.name,
                added(theirs.at_rate, direct.at_rate, _p95),
                "ms",
                _P95_GOAL_MS,
            ),
            Ratio(f"requests over {_CONNECTIONS} connections", max(own.rates), beside.name, max(theirs.rates), "/s"),
        ]
    if other is None:
        facts["LiteLLM"] = f"absent: it could not be installed; name its environment in {models.LITELLM}"
    return Result(name="gateway", figures=tuple(figures), ratios=tuple(ratios), facts=facts)


def _growth(served: Served) -> dict[str, str | int | float]:
    """Its memory under load: at the end, and by how much a minute it grows after the first quarter of the time."""
    process = psutil.Process(served.pid)
    seen: list[tuple[float, float]] = []
    stop = threading.Event()

    def load() -> None:
        connection = Connection(served.port)
        while not stop.is_set():
            _good(connection, served)
        connection.close()

    threads = [threading.Thread(target=load) for _ in range(_LOAD_CONNECTIONS)]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < _LOAD_SECONDS:
        seen.append((now / 60, _memory(process)))
        time.sleep(_LOAD_SECONDS / 60)
    stop.set()
    for thread in threads:
        thread.join()
    slope = statistics.linear_regression(*zip(*seen[len(seen) // 4 :], strict=True)).slope
    return {
        f"{served.name}: MiB under load": round(seen[-1][1], 1),
        f"{served.name}: MiB more a minute under load": round(slope, 2),
    }


def _memory(process: psutil.Process) -> float:
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / _MIB


def _at_rate(served: Served) -> list[float]:
    """Milliseconds of requests that begin at a fixed rate, however long others take; from when each was due."""
    count = int(_RATE * _RATE_SECONDS)
    took: list[float] = []
    begun = time.perf_counter() + 0.1

    def worker(number: int) -> None:
        connection = Connection(served.port)
        for each in range(number, count, _CONNECTIONS):
            due = begun + each / _RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            _good(connection, served)
            took.append((time.perf_counter() - due) * 1000)
        connection.close()

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def _first_content(served: Served) -> None:
    """Ask for a stream and wait for its first content."""
    connection = Connection(served.port)
    try:
        connection.until(served.request(stream=True), b'"content":"hello', b'"content": "hello')
    finally:
        connection.close()


def _on(served: Served, how: Callable[[Connection], list[float]]) -> list[float]:
    connection = Connection(served.port)
    try:
        return how(connection)
    finally:
        connection.close()


def _good(connection: Connection, served: Served) -> None:
    status = connection.send(served.request())
    if status != 200:
        raise RuntimeError(f"{served.name} answered {status}")


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[94]
