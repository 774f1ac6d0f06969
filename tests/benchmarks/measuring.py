"""Figures: how they are taken, and what is written down beside them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One distribution, in milliseconds unless `unit` says otherwise."""

    name: str
    count: int
    median: float
    p95: float
    p99: float
    maximum: float
    unit: str = "ms"

    @classmethod
    def of(cls, name: str, values: Sequence[float], *, unit: str = "ms") -> Figure:
        """Summarise `values`. Raises ValueError for fewer than two: one value is an anecdote."""
        if len(values) < 2:
            raise ValueError(f"{name}: {len(values)} values are not a distribution")
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        return cls(name, len(values), statistics.median(values), cuts[94], cuts[98], max(values), unit)


@dataclass(frozen=True)
class Ratio:
    """A figure beside the baseline of the same run, and the goal where there is one. The unit says what reaches it:
    of a rate (`/s`) at least the goal, of everything else at most.
    """

    name: str
    value: float
    baseline: str
    beside: float
    unit: str
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """How many times the baseline."""
        return self.value / self.beside

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.unit == "/s" else self.value <= self.goal


@dataclass(frozen=True)
class Result:
    """What one benchmark found. A figure that could not be taken is absent, with the reason; never zero."""

    name: str
    figures: tuple[Figure, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    absent: str | None = None
    facts: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """One entry of the list in `tests.benchmarks.__main__`. `run` is given an empty folder."""

    name: str
    summary: str
    run: Callable[[Path], Result]


def timed(action: Callable[[], object], *, count: int, warm_up: int = 5) -> list[float]:
    """Milliseconds of each of `count` calls of `action`, after `warm_up` calls that are not counted."""
    for _ in range(warm_up):
        action()
    values = []
    for _ in range(count):
        begun = time.perf_counter()
        action()
        values.append((time.perf_counter() - begun) * 1000)
    return values


def machine() -> dict[str, str | int | float]:
    """What a reader needs to judge the figures: processors, how busy they were, versions, when."""
    return {
        "cpus": os.cpu_count() or 0,
        "load_1m": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(result: Result, folder: Path) -> Path:
    """Write one result as `NAME.json` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}.json"
    document = {"machine": machine()} | asdict(result)
    document["ratios"] = [asdict(item) | {"ratio": item.ratio, "reached": item.reached} for item in result.ratios]
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
