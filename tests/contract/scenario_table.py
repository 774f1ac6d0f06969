"""The table verb x platform x scenario, of the reports of this very run: each row is a property of its test."""

from __future__ import annotations

from collections.abc import Iterable

from uici.model.base import JsonObject

PROPERTY = "scenario"


def row(platform: str, scenario: str, run: JsonObject) -> JsonObject:
    """What one scenario came to on one platform, of the run as UICI shows it."""
    return {
        "scenario": scenario,
        "platform": platform,
        "verbs": [step["operation"] for step in (run["plan"] or {}).get("steps", ())],
        "calls": [call["call"] for call in run["calls"]],
        "end": run["outcome"] or run["verdict"],
        "reason": run["reason"],
    }


def lines(rows: Iterable[JsonObject]) -> list[str]:
    """A table in Markdown: a line for each scenario and verb, a column for each platform."""
    found = list(rows)
    platforms = sorted({one["platform"] for one in found})
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for one in found:
        key = (one["scenario"], ", ".join(one["verbs"]) or "none")
        cells.setdefault(key, {})[one["platform"]] = ": ".join([one["end"], *filter(None, [", ".join(one["calls"])])])
    table = [("scenario", "verb", *platforms)]
    for key in sorted(cells):
        table.append((*key, *(cells[key].get(platform, "") for platform in platforms)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, tuple("-" * width for width in widths))
    return [f"| {' | '.join(cell.ljust(width) for cell, width in zip(one, widths, strict=True))} |" for one in table]
