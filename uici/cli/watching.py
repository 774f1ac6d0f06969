"""`uici watch`, and `--watch` of other commands: a live timeline until what is watched has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from uici.cli import completing
from uici.cli.context import Exit, Options, OutputFormat, options_of, segment
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from rich.status import Status

    from uici.cli.client import Client

Watch = Annotated[
    bool,
    typer.Option("--watch", "-w", help="Follow it live. With an ID until its end: exits 0 when it healed, else 1."),
]

_WELL = frozenset({"healed", "self_resolved"})


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("watch")(watch)


def watch(
    context: typer.Context,
    id_: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="A run or an incident; without it everything is followed.",
            autocompletion=completing.watched,
        ),
    ] = None,
    tail: Annotated[
        int, typer.Option("--tail", min=0, max=5000, help="Without ID: begin with so many of the newest events.")
    ] = 10,
) -> None:
    """Follow a run or an incident until it ends, or all that happens until Ctrl-C.

    Exits 0 when it healed (for a run that a person started: when it was effective), 1 when it did not, and 130 when
    Ctrl-C ended the watching. What is watched goes on in any case.
    """
    options = options_of(context)
    client = options.client()
    if id_ is not None:
        follow(options, client, id_)
    follow_all(options, client, tail=tail)


def follow(options: Options, client: Client, id_: str) -> NoReturn:
    """Follow a run or an incident to its end, and exit with what came of it. Raises Problem when there is none."""
    while True:
        path = f"/incidents/{segment(id_)}" if id_.startswith("inc_") else f"/runs/{segment(id_)}"
        _show(options, client.follow(path), id_)
        ended = client.get(path)
        # A run that a person started belongs to no incident, so it has a verdict and no outcome.
        outcome = ended.get("outcome")
        _say_end(options, id_, ended)
        if not ended.get("superseded_by"):
            break
        id_ = str(ended["superseded_by"])
    healed = outcome in _WELL or (not outcome and ended.get("verdict") == "effective")
    raise typer.Exit(Exit.OK if healed else Exit.NO)


def follow_all(options: Options, client: Client, *, tail: int, about: str | None = None) -> NoReturn:
    """Follow what happens from now on, after the `tail` newest events, until the reader has had enough.

    With `about` (`run`, `incident`) only events that belong to one.
    """
    events = client.follow_all(tail)
    wanted = (event for event in events if about is None or event.get(about))
    _show(options, wanted, None)
    raise typer.Exit(Exit.NO)  # the server has ended the stream for good


def _show(options: Options, events: Iterator[JsonObject], id_: str | None) -> None:
    """Print events as they come. Ctrl-C ends the watching and nothing else."""
    try:
        if options.output is OutputFormat.JSON:
            # One document per line, so that a program can read along.
            for event in events:
                typer.echo(json.dumps(event, ensure_ascii=False))
        else:
            _timeline(events, id_)
    except KeyboardInterrupt:
        options.say(f"\nno longer watched; {id_} goes on" if id_ else "\nno longer watched")
        raise typer.Exit(Exit.INTERRUPTED) from None


def _timeline(events: Iterator[JsonObject], id_: str | None) -> None:
    from rich.text import Text

    from uici.cli.rendering import console
    from uici.cli.timeline import Timeline

    out = console()
    timeline = Timeline(everything=id_ is None)
    status: Status | None = None
    if out.is_terminal:
        status = out.status(Text(f"watching {id_ or 'everything'}; Ctrl-C stops watching, nothing else"))
        status.start()
    try:
        for event in events:
            timeline.show(out, event)
    finally:
        if status is not None:
            status.stop()


def _say_end(options: Options, id_: str, ended: JsonObject) -> None:
    if options.output is OutputFormat.JSON:
        return
    from rich.text import Text

    from uici.cli.rendering import cell, console

    out = console()
    summary = Text(f"{id_} ended: ").append_text(cell(ended.get("outcome") or ended.get("verdict")))
    reason = Text(" - ").append_text(cell(ended["reason"], whole=True)) if ended.get("reason") else Text()
    out.print(summary.append_text(reason), soft_wrap=not out.is_terminal)
