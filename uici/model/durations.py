"""Durations as people write them: `30m`, `12h`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta

from uici.model.errors import Problem, ProblemKind

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"(0|[1-9]\d{0,5})([smhdw])")


def duration_of(text: str, where: str, *, least: int = 0) -> timedelta:
    """`text` as a duration of at least `least` seconds. Raises Problem."""
    found = _FORM.fullmatch(text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if seconds < least:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "wrong_duration",
            f"{text[:40]!r} is no duration" + ("" if found is None else " that is long enough here"),
            where=where,
            allowed=("30m", "12h", "7d", "4w"),
            hint="give a whole number and one of s, m, h, d, w",
        )
    return timedelta(seconds=seconds)
