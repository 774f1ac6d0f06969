"""Logs and resource usage, read with as few requests as the engine allows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from executors.deadline import Deadline
from executors.docker.engine import Engine
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

MAX_LINE = 4096
_MAX_LOG_BYTES = 64 * 1024 * 1024
_SAMPLE_SECONDS = 0.1
_KEPT_SECONDS = 60.0
_ONE_SHOT_SINCE = (1, 41)


def logs_of(engine: Engine, containers: Sequence[tuple[str, str]], lines: int, deadline: Deadline) -> JsonObject:
    """The last lines of all `(id, name)`, by time; with several containers each line begins with `[name]`."""
    several = len(containers) > 1
    collected: list[tuple[str, str]] = []
    truncated = False
    for container_id, name in containers:
        # One line more than wanted tells whether there is more.
        query: JsonObject = {"stdout": True, "stderr": True, "tail": lines + 1, "timestamps": several}
        try:
            answer = engine.get(("containers", container_id, "logs"), query, deadline=deadline, limit=_MAX_LOG_BYTES)
        except CallError as error:
            if "does not support reading" in error.message:
                raise CallError(
                    FailureKind.PERMANENT,
                    "logs_not_readable",
                    f"container {name!r} on {engine.where} has a log driver that cannot be read; "
                    "look where that driver sends its lines",
                ) from None
            raise
        found = deque(_lines(answer.content), maxlen=lines + 1)
        truncated = truncated or len(found) > lines or answer.truncated
        for line in list(found)[-lines:]:
            at, text = line.split(" ", 1) if several and " " in line else ("", line)
            collected.append((at, f"[{name}] {text}" if several else text))
    if several:
        collected.sort(key=lambda entry: entry[0])
        truncated = truncated or len(collected) > lines
    return {"lines": [text[:MAX_LINE] for _, text in collected[-lines:]], "truncated": truncated}


class Samples:
    """Usage of containers, with the last look at each kept: CPU time is a difference of two looks.

    Safe for several threads. Engines up to 20.10 answer a second look within a second only when that second has
    passed, so a look that is already there saves it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def usage_of(self, running: Sequence[str], deadline: Deadline) -> JsonObject:
        """What the containers with these ids use together, since the last look or over about 100 ms."""
        one_shot = self._engine.api_version() >= _ONE_SHOT_SINCE
        now = {one: self._sample(one, one_shot, deadline) for one in running}
        before = {one: self._before(one, sample, one_shot) for one, sample in now.items()}
        without = [one for one, sample in before.items() if sample is None]
        if without:
            before.update({one: now[one] for one in without})
            time.sleep(_SAMPLE_SECONDS)
            now.update({one: self._sample(one, one_shot, deadline) for one in without})
        with self._lock:
            if len(self._last) > 1000:
                self._last.clear()
            self._last.update(now)
        return self._sum([(before[one] or {}, now[one]) for one in running])

    def _before(self, container_id: str, now: dict[str, Any], one_shot: bool) -> dict[str, Any] | None:
        """An earlier look that is neither too near nor too far; None when there is none."""
        if not one_shot:
            # Older engines take two looks by themselves, which lasts a second or two.
            return {"cpu_stats": now.get("precpu_stats") or {}, "read": now.get("preread")}
        with self._lock:
            last = self._last.get(container_id)
        if (
            last is None
            or not _SAMPLE_SECONDS <= _seconds(now.get("read")) - _seconds(last.get("read")) <= _KEPT_SECONDS
        ):
            return None
        # Less than before: it was restarted in between.
        return last if _used(last) <= _used(now) else None

    def _sum(self, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> JsonObject:
        memory, limit, unlimited = 0, 0, not pairs
        for _, now in pairs:
            stats = now.get("memory_stats") or {}
            memory += _memory(stats)
            ceiling = int(stats.get("limit") or 0)
            unlimited = unlimited or not ceiling or ceiling >= self._engine.totals()[1]
            limit += ceiling
        return {
            "cpu_percent": round(sum(_cpu_percent(before, now) for before, now in pairs), 2),
            "memory_bytes": memory,
            "memory_limit_bytes": None if unlimited else limit,
            "memory_percent": None if unlimited else round(100 * memory / limit, 2),
            "processes": sum(int((now.get("pids_stats") or {}).get("current") or 0) for _, now in pairs),
        }

    def _sample(self, container_id: str, one_shot: bool, deadline: Deadline) -> dict[str, Any]:
        query: JsonObject = {"stream": False, **({"one-shot": True} if one_shot else {})}
        return dict(self._engine.get(("containers", container_id, "stats"), query, deadline=deadline).json())


def _cpu_percent(before: dict[str, Any], now: dict[str, Any]) -> float:
    used = _used(now) - _used(before)
    # The engine's own time of reading is finer than its counter of the machine's CPU time.
    seconds = _seconds(now.get("read")) - _seconds(before.get("read"))
    return max(0.0, used / 1e9 / seconds * 100) if seconds > 0 else 0.0


def _used(sample: dict[str, Any]) -> int:
    return int(((sample.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0)


def _seconds(text: str | None) -> float:
    if not text or text.startswith("0001-"):
        return 0.0
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")


def _memory(stats: dict[str, Any]) -> int:
    # The page cache that can be dropped at once is no use of memory: as `docker stats` counts, on both cgroup versions.
    detail = stats.get("stats") or {}
    droppable = int(detail.get("total_inactive_file", detail.get("inactive_file", 0)) or 0)
    usage = int(stats.get("usage") or 0)
    return usage - droppable if usage > droppable else usage


def _lines(content: bytes) -> Iterator[str]:
    text = demultiplexed(content).decode("utf-8", "replace")
    for line in text.split("\n"):
        if line:
            yield line.rstrip("\r")


def demultiplexed(content: bytes) -> bytes:
    """Both outputs in the order written. Content that is not in Docker's frames (a terminal's) is returned as it is."""
    plain = bytearray()
    position = 0
    while position + 8 <= len(content):
        if content[position] > 2 or content[position + 1 : position + 4] != b"\0\0\0":
            return content if position == 0 else bytes(plain)
        size = int.from_bytes(content[position + 4 : position + 8], "big")
        plain += content[position + 8 : position + 8 + size]
        position += 8 + size
    return bytes(plain) if position else content
