"""The Monitoring Query Language, as far as one query over one metric goes.

Syntax, statistics and operators: https://docs.oracle.com/en-us/iaas/Content/Monitoring/Reference/mql.htm
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from statistics import fmean

from executors.oci.simulator.refusals import invalid_parameter

Point = tuple[float, float]
"""Seconds since the epoch, and a value."""

_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_NUMBER = r"-?\d+(?:\.\d+)?"
_QUERY = re.compile(
    r"\s*(?P<metric>[A-Za-z][\w.\-$]*)\s*\[\s*(?P<interval>\d+[mhd]|auto)\s*\]\s*"
    r"(?:\{(?P<dimensions>[^}]*)\})?\s*"
    r"(?:\.\s*(?P<group>groupBy|grouping)\s*\((?P<by>[^)]*)\))?\s*"
    r"\.\s*(?P<statistic>\w+)\s*\((?P<argument>[^)]*)\)\s*"
    rf"(?:(?P<operator>>=|<=|==|!=|>|<|in|not in)\s*(?P<value>{_NUMBER}|\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)))?\s*"
)
_DIMENSION = re.compile(r'\s*([\w.]+)\s*(=~|!=|=)\s*"([^"]*)"\s*(?:,|&&|$)')
_COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Query:
    """One parsed expression."""

    metric: str
    seconds: int
    """The interval."""
    filters: tuple[tuple[str, str, str], ...] = ()
    by: tuple[str, ...] | None = None
    """The dimensions that make a group; empty is one group of all, None is each series by itself."""
    statistic: str = "mean"
    argument: float | None = None
    compare: tuple[str, tuple[float, ...]] | None = field(default=None)

    def keeps(self, dimensions: Mapping[str, str]) -> bool:
        """Whether a series has the dimensions that the query asks for."""
        for name, how, wanted in self.filters:
            value = dimensions.get(name, "")
            meets = any(fnmatchcase(value, one) for one in wanted.split("|")) if how == "=~" else value == wanted
            if meets is (how == "!="):
                return False
        return True

    def group(self, dimensions: Mapping[str, str]) -> dict[str, str]:
        """The dimensions that a series keeps in the answer."""
        if self.by is None:
            return dict(dimensions)
        return {name: dimensions[name] for name in self.by if name in dimensions}

    def aggregated(self, points: Sequence[Point], start: float, end: float) -> list[Point]:
        """The statistic of each interval, at the interval's end."""
        found = []
        first = int(start // self.seconds) * self.seconds
        for begin in range(first, int(end), self.seconds):
            values = [value for at, value in points if begin < at <= begin + self.seconds]
            if values or self.statistic == "absent":
                value = _STATISTICS[self.statistic](values, self)
                found.append((float(begin + self.seconds), self._judged(value)))
        return found

    def _judged(self, value: float) -> float:
        if self.compare is None:
            return value
        how, limits = self.compare
        if how in {"in", "not in"}:
            return float((limits[0] <= value <= limits[1]) is (how == "in"))
        return float(_COMPARES[how](value, limits[0]))


def _percentile(values: Sequence[float], query: Query) -> float:
    ordered = sorted(values)
    share = query.argument if query.argument is not None else 0.95
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


_STATISTICS: Mapping[str, Callable[[Sequence[float], Query], float]] = {
    "mean": lambda values, query: fmean(values),
    "avg": lambda values, query: fmean(values),
    "max": lambda values, query: max(values),
    "min": lambda values, query: min(values),
    "sum": lambda values, query: float(sum(values)),
    "count": lambda values, query: float(len(values)),
    "first": lambda values, query: values[0],
    "last": lambda values, query: values[-1],
    "rate": lambda values, query: (values[-1] - values[0]) / query.seconds,
    "increment": lambda values, query: values[-1] - values[0],
    "percentile": _percentile,
    "absent": lambda values, query: float(not values),
}


def parsed(text: str) -> Query:
    """Parse an expression; what is none is a 400, as the service answers it."""
    found = _QUERY.fullmatch(text)
    if found is None or found["statistic"] not in _STATISTICS:
        raise invalid_parameter(f"Failed to parse the query: {text}")
    interval = "1m" if found["interval"] == "auto" else found["interval"]
    by = None
    if found["group"]:
        by = tuple(name.strip() for name in found["by"].split(",") if name.strip())
    compare = None
    if found["operator"]:
        compare = found["operator"], tuple(float(one) for one in re.findall(_NUMBER, found["value"]))
    return Query(
        metric=found["metric"],
        seconds=int(interval[:-1]) * _SECONDS[interval[-1]],
        filters=_filters(text, found["dimensions"] or ""),
        by=by,
        statistic=found["statistic"],
        argument=float(found["argument"]) if found["argument"].strip() else None,
        compare=compare,
    )


def _filters(text: str, dimensions: str) -> tuple[tuple[str, str, str], ...]:
    found, at = [], 0
    while dimensions[at:].strip():
        match = _DIMENSION.match(dimensions, at)
        if match is None:
            raise invalid_parameter(f"Failed to parse the dimensions of the query: {text}")
        found.append((match[1], match[2], match[3]))
        at = match.end()
    return tuple(found)
