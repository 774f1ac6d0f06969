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

from uici.cli import rehearsals
from uici.model.base import JsonObject, JsonValue
from uici.model.terminals import printable

_WIDTH_OF_FILES = 200
_LONGEST_CELL = 300
_LONGEST_IN_LIST = 120
_LONG_VALUE = 60
"""Characters from which on a text of a nested object is read better in a line of its own."""
_WIDEST_WORD = 24
_GAP = 2
# What a list can do without on a narrow terminal, the most dispensable first; each is shown with the single object.
_DISPENSABLE = (
    "run", "origin", "aliases", "group", "title", "reason", "expires_at", "severity", "environment", "summary",
)  # fmt: skip
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


def cell(value: JsonValue, *, whole: bool = False) -> Text:
    """One value, inert, and short unless it is wanted whole."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        shown = "true" if value else "false"
    elif isinstance(value, str):
        shown = _local_time(value) or printable(value)
    elif isinstance(value, int | float):
        shown = str(value)
    elif isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        shown = printable(", ".join(str(item) for item in value)) or "-"
    else:
        shown = printable(json.dumps(value, ensure_ascii=False, default=str))
    if len(shown) > _LONGEST_CELL and not whole:
        shown = shown[: _LONGEST_CELL - 1] + "…"
    return Text(shown, style=_STYLES.get(shown, ""), overflow="fold")


def table(rows: Iterable[Mapping[str, JsonValue]], columns: Iterable[str], width: int, *, title: str = "") -> Table:
    """Rows as a table of at most `width`. Words stay whole where there is room for that."""
    rows = list(rows)
    names = list(columns)
    drawn = Table(
        title=Text(title) if title else None, title_justify="left", header_style="bold", box=None, pad_edge=False,
        padding=(0, _GAP, 0, 0),
    )  # fmt: skip
    widths = _widths(rows, names, width)
    for name in names:
        drawn.add_column(Text(name.replace("_", " ")), overflow="fold", width=widths.get(name))
    for row in rows:
        drawn.add_row(*(cell(row.get(name)) for name in names))
    return drawn


def _widths(rows: list[Mapping[str, JsonValue]], names: list[str], width: int) -> dict[str, int]:
    """A width for each column; none, so that Rich breaks words, where not even the longest words find room."""
    spare = width - _needed(rows, names)
    if spare < 0 or not names:
        return {}
    widths = {name: _narrowest(rows, name) for name in names}
    wanted = {name: max(len(text) for text in _texts(rows, name)) for name in names}
    # Those that want little get it; the others share what is left.
    for waiting, name in enumerate(sorted(names, key=lambda each: wanted[each] - widths[each])):
        more = max(0, min(spare // (len(names) - waiting), wanted[name] - widths[name]))
        widths[name] += more
        spare -= more
    return widths


def show_list(out: Console, rows: JsonValue, columns: Iterable[str], nothing: str) -> None:
    """A list of objects as a table, or a sentence that there are none."""
    if not rows:
        out.print(Text(nothing))
        return
    rows = [{name: _shortened(value) for name, value in row.items()} for row in rows]
    present = [name for name in columns if any(name in row for row in rows)]
    kept, left_out = _fitting(rows, present, out.width)
    out.print(table(rows, kept, out.width))
    if left_out:
        names = ", ".join(name.replace("_", " ") for name in left_out)
        out.print(Text(f"no room for: {names}; a wider terminal or --output json shows them", style="dim"))


def _shortened(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and len(value) > _LONGEST_IN_LIST:
        return value[: _LONGEST_IN_LIST - 1] + "…"
    return value


def _fitting(rows: list[Mapping[str, JsonValue]], names: list[str], width: int) -> tuple[list[str], list[str]]:
    """The columns that find room, and those that were left out for them."""
    left_out: list[str] = []
    for name in _DISPENSABLE:
        kept = [each for each in names if each not in left_out]
        if _needed(rows, kept) <= width:
            break
        if name in kept:
            left_out.append(name)
    return [each for each in names if each not in left_out], left_out


def _needed(rows: list[Mapping[str, JsonValue]], names: list[str]) -> int:
    return sum(_narrowest(rows, name) for name in names) + _GAP * (len(names) - 1)


def _narrowest(rows: list[Mapping[str, JsonValue]], name: str) -> int:
    """The width at which a column breaks between words only, up to a limit."""
    return min(_WIDEST_WORD, max((len(word) for text in _texts(rows, name) for word in text.split()), default=1))


def _texts(rows: list[Mapping[str, JsonValue]], name: str) -> list[str]:
    return [name.replace("_", " "), *(cell(row.get(name)).plain for row in rows)]


def show_details(out: Console, document: JsonObject) -> None:
    """One object, whole: its plain values first, then each list of objects as a section of its own."""
    plain: dict[str, JsonValue] = {}
    later: list[tuple[str, JsonValue]] = []
    for name, value in document.items():
        if _is_section(value):
            later.append((name, value))
        else:
            plain[name] = value
    out.print(_grid(plain))
    for name, value in later:
        out.print(Text("\n" + name.replace("_", " "), style="bold"))
        if isinstance(value, dict):
            out.print(_grid(value))
        elif name in ("timeline", "events"):
            from uici.cli.timeline import Timeline

            timeline = Timeline()
            for row in value:
                timeline.show(out, row)
        else:
            _show_rows(out, value)


def _is_section(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return len(value) > 3 or any(isinstance(item, str) and len(item) > _LONG_VALUE for item in value.values())
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _show_rows(out: Console, rows: list[Mapping[str, JsonValue]]) -> None:
    """A table where there is room for one, else each row by itself, without what it does not say."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    flat = not any(isinstance(value, dict) or _is_section(value) for row in rows for value in row.values())
    if flat and _needed(rows, names) <= out.width:
        out.print(table(rows, names, out.width))
        return
    for number, row in enumerate(rows):
        if number:
            out.print()
        out.print(_grid({name: value for name, value in row.items() if value not in (None, "", [], {})}))


def _grid(values: Mapping[str, JsonValue]) -> Table:
    grid = Table.grid(padding=(0, _GAP))
    for name, value in values.items():
        grid.add_row(Text(printable(name.replace("_", " ")), style="bold"), cell(value, whole=True))
    return grid


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
        out.print(_preview(preview, out.width))


def _preview(preview: JsonObject, width: int) -> Group:
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
            parts += [Text("  " + printable(line.text), style=line.style) for line in rehearsals.lines_of(call)]
    if not steps:
        parts.append(Text("\nno step: nothing would be sent"))
    for name, columns in (
        ("guards", ("guard", "answer", "rule", "value", "reason")),
        ("findings", ("name", "summary")),
    ):
        if preview.get(name):
            parts += [Text(), table(preview[name], columns, width, title=name)]
    notes = preview.get("notes") or []
    if notes:
        parts += [Text("\nnotes", style="bold"), *(Text(f"- {printable(str(note))}") for note in notes)]
    return Group(*parts)


def style_of(words: Iterable[str]) -> str:
    """The style of the first of `words` that has one; empty when none has."""
    return next((_STYLES[word] for word in words if word in _STYLES), "")


def _local_time(text: str) -> str | None:
    parsed = moment(text) if _TIMESTAMP.match(text) else None
    return parsed.astimezone().strftime("%Y-%m-%d %H:%M:%S") if parsed else None


def moment(text: str) -> datetime | None:
    """The point in time that an ISO 8601 text tells; None when it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
