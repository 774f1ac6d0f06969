"""Drawing answers. Texts from alerts and logs are foreign: they are shown, never interpreted."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from uici.model.base import JsonObject, JsonValue

_WIDTH_OF_FILES = 200
_LONGEST_CELL = 300
# Escape sequences would let an annotation redraw the terminal; tabs and line ends are harmless.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
_STYLES = {
    "healed": "green", "effective": "green", "allow": "green", "running": "green", "low": "green", "ended": "dim",
    "self_resolved": "green", "open": "yellow", "waiting": "yellow", "active": "cyan", "needs_approval": "yellow",
    "medium": "yellow", "inconclusive": "yellow", "escalated": "red", "refused": "red", "ineffective": "red",
    "deny": "red", "high": "red", "destructive": "bold red", "true": "green", "false": "red",
}  # fmt: skip


def console(*, error: bool = False) -> Console:
    """A console on stdout or stderr; wide when its output goes into a file or a pipe."""
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _WIDTH_OF_FILES, highlight=False, markup=False)


def printable(text: str) -> str:
    """`text` without what a terminal would obey."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def cell(value: JsonValue) -> Text:
    """One value, short and inert."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        shown = "true" if value else "false"
    elif isinstance(value, str):
        shown = _moment(value) or printable(value)
    elif isinstance(value, int | float):
        shown = str(value)
    elif isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        shown = printable(", ".join(str(item) for item in value)) or "-"
    else:
        shown = printable(json.dumps(value, ensure_ascii=False, default=str))
    if len(shown) > _LONGEST_CELL:
        shown = shown[: _LONGEST_CELL - 1] + "…"
    return Text(shown, style=_STYLES.get(shown, ""), overflow="fold")


def table(rows: Iterable[Mapping[str, JsonValue]], columns: Iterable[str] = (), *, title: str = "") -> Table:
    """Rows as a table; without `columns`, of all keys in order of appearance."""
    rows = list(rows)
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    drawn = Table(
        title=Text(title) if title else None, title_justify="left", header_style="bold", box=None, pad_edge=False
    )
    for name in names:
        drawn.add_column(Text(name.replace("_", " ")), overflow="fold", no_wrap=name in ("id", "run", "seq"))
    for row in rows:
        drawn.add_row(*(cell(row.get(name)) for name in names))
    return drawn


def show_list(out: Console, rows: JsonValue, columns: Iterable[str], nothing: str) -> None:
    """A list of objects as a table, or a sentence that there are none."""
    if rows:
        present = [name for name in columns if any(name in row for row in rows)]
        out.print(table(rows, present))
    else:
        out.print(Text(nothing))


def show_details(out: Console, document: JsonObject) -> None:
    """One object: its plain values first, then each list of objects as a table of its own."""
    grid = Table.grid(padding=(0, 2))
    later: list[tuple[str, JsonValue]] = []
    for name, value in document.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            later.append((name, value))
        elif isinstance(value, dict) and len(value) > 3:
            later.append((name, [{"key": key, "value": item} for key, item in value.items()]))
        else:
            grid.add_row(Text(name.replace("_", " "), style="bold"), cell(value))
    out.print(grid)
    for name, rows in later:
        out.print()
        if name in ("timeline", "events"):
            out.print(Text(name, style="bold"))
            for row in rows:
                out.print(event_line(row))
        else:
            out.print(table(rows, title=name.replace("_", " ")))


def show_preview(out: Console, document: JsonObject) -> None:
    """What would be done: each exact call, each guard's answer, and what undo would do."""
    previews = document.get("previews")
    if not isinstance(previews, list):
        previews = [document]
    if not previews:
        out.print(Text("nothing would be done"))
    for number, preview in enumerate(previews):
        if number:
            out.rule()
        out.print(_preview(preview))


def _preview(preview: JsonObject) -> Group:
    grid = Table.grid(padding=(0, 2))
    for name in ("environment", "target", "strategy", "remedy", "cid", "risk", "answer", "outcome"):
        if preview.get(name) not in (None, ""):
            grid.add_row(Text(name, style="bold"), cell(preview[name]))
    parts: list[Table | Text] = [grid]
    steps = preview.get("steps") or []
    for number, step in enumerate(steps, 1):
        parts.append(
            Text(f"\nstep {number}: {printable(str(step.get('operation')))} on {printable(str(step.get('target')))}")
        )
        about = Table.grid(padding=(0, 2))
        for name in ("parameters", "risk", "undo"):
            about.add_row(Text(f"  {name}", style="bold"), cell(step.get(name)))
        parts.append(about)
        for call in step.get("calls") or []:
            effect = "changes something" if call.get("mutates") else "only reads"
            head = Text(f"  call {printable(str(call.get('id')))}: ", style="bold")
            head.append(printable(str(call.get("name"))), style="cyan").append(f"  ({effect}, ", style="dim")
            parts.append(head.append_text(cell(call.get("risk"))).append(" risk)", style="dim"))
            # Whole, however long: this is what would be sent.
            arguments = json.dumps(call.get("arguments"), indent=2, ensure_ascii=False, sort_keys=True)
            parts.append(Text("\n".join("    " + printable(line) for line in arguments.splitlines())))
    if not steps:
        parts.append(Text("\nno step: nothing would be sent"))
    for name, columns in (
        ("guards", ("guard", "answer", "rule", "value", "reason")),
        ("findings", ("name", "summary")),
    ):
        if preview.get(name):
            parts += [Text(), table(preview[name], columns, title=name)]
    notes = preview.get("notes") or []
    if notes:
        parts += [Text("\nnotes", style="bold"), *(Text(f"- {printable(str(note))}") for note in notes)]
    return Group(*parts)


def event_line(event: JsonObject, began: datetime | None = None) -> Text:
    """One event of a timeline: time, time since the beginning, what happened."""
    at = _parsed(str(event.get("time") or event.get("at") or ""))
    line = Text(overflow="fold")
    line.append(at.astimezone().strftime("%H:%M:%S.%f")[:-3] if at else "-", style="dim")
    if at is not None and began is not None:
        line.append(f"  +{(at - began).total_seconds():.3f}s".ljust(12), style="dim")
    kind = str(event.get("type", "")).removeprefix("uici.")
    data = event.get("data") if isinstance(event.get("data"), dict) else {}
    said = {str(value) for value in (data or {}).values() if isinstance(value, str)}
    style = next((_STYLES[word] for word in _STYLES if word in said), "bold")
    line.append("  " + printable(kind).replace("_", " ").ljust(24), style=style)
    for name, value in (data or {}).items():
        if value not in (None, "", [], {}):
            line.append(f" {printable(str(name))}=", style="dim").append_text(cell(value))
    return line


def moment_of(event: JsonObject) -> datetime | None:
    """When an event happened."""
    return _parsed(str(event.get("time") or event.get("at") or ""))


def _moment(text: str) -> str | None:
    parsed = _parsed(text) if _TIMESTAMP.match(text) else None
    return parsed.astimezone().strftime("%Y-%m-%d %H:%M:%S") if parsed else None


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
