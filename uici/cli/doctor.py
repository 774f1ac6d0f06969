"""`uici doctor`: a check-up of UICI, its environments and its monitoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from uici.cli.context import ConfigOption, EnvironmentOption, Exit, StateOption, log_to_stderr, options_of
from uici.cli.local import database
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Look whether UICI can do its work here: connections, permissions, clocks, monitoring, targets, UICI itself.

    It changes nothing, and needs no running service. Exits 1 when a check failed.
    """
    from uici import bootstrap

    log_to_stderr()
    found = bootstrap.check_up(config, database(state), environment)
    options_of(context).show(found, show_check_up)
    raise typer.Exit(Exit.OK if found["ok"] else Exit.NO)


def show_check_up(out: Console, document: JsonObject) -> None:
    """Draw the answer of a check-up."""
    from rich.text import Text

    from uici.model.terminals import printable

    of = ""
    counts: dict[str, int] = {}
    width = max(len(check["name"]) for check in document["checks"])
    for check in document["checks"]:
        if check["of"] != of:
            of = check["of"]
            out.print(Text(printable(of), style="bold"))
        state = check["state"]
        counts[state] = counts.get(state, 0) + 1
        head = Text(f"  {state.ljust(5)}", style=_STYLES[state])
        head.append(f"{printable(check['name']).ljust(width)}  ", style="default")
        _line(out, head, Text(printable(check["seen"]), style="dim" if state == "skip" else "default"))
        if check["advice"]:
            _line(out, Text("        do: "), Text(printable(check["advice"])))
    out.print(Text(", ".join(f"{counts[name]} {name}" for name in _STYLES if name in counts)))


def _line(out: Console, head: Text, told: Text) -> None:
    """In a terminal what does not fit goes on below its beginning; in a pipe a line stays a line."""
    from rich.table import Table

    if not out.is_terminal:
        out.print(head + told, soft_wrap=True)
        return
    row = Table.grid()
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(head, told)
    out.print(row)
