"""Commands about what people are told: what waits or was given up, trying again, and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli.context import Exit, options_of
from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind

if TYPE_CHECKING:
    from rich.console import Console

_CHANNEL_COLUMNS = ("name", "kinds", "severity", "pending", "held", "dead", "sent", "last_accepted_at")
_MESSAGE_COLUMNS = ("id", "channel", "state", "kind", "created_at", "next_at", "tries", "title", "error")

commands = typer.Typer(help="Messages to people: what waits, what was given up, and tests.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(commands, name="notify")


@commands.command("status")
def status(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many of each state.")] = 100,
) -> None:
    """Show the channels, and the messages that are dead, held back or waiting."""
    options = options_of(context)
    options.show(options.client().get("/notifications", limit=limit), _show_status)


@commands.command("retry")
def retry(
    context: typer.Context,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="Messages; see `uici notify status`.")
    ] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All that were given up.")] = False,
) -> None:
    """Have messages tried again that were given up."""
    if bool(ids) is all_dead:
        raise Problem(
            ProblemKind.INVALID, "what_to_retry", "give either the ids of messages or --all-dead", where="ID",
            allowed=("uici notify retry ID...", "uici notify retry --all-dead"),
        )  # fmt: skip
    options = options_of(context)
    answer = options.client().post("/notifications:retry", {"ids": ids} if ids else {"all_dead": True})

    def show(out: Console, _: JsonValue) -> None:
        from uici.cli.rendering import show_list

        show_list(out, answer["retried"], ("id", "channel"), "no message was given up")

    options.show(answer, show)


@commands.command("test")
def send_test(
    context: typer.Context,
    channel: Annotated[str | None, typer.Argument(metavar="[CHANNEL]", help="All of them when left out.")] = None,
) -> None:
    """Send a test message, and say what each receiver made of it. Exits 1 when one did not accept."""
    options = options_of(context)
    answer = options.client().post("/notifications:test", {"channel": channel} if channel else {})

    def show(out: Console, _: JsonValue) -> None:
        from uici.cli.rendering import show_list

        rows = [
            {"channel": each["channel"], "accepted": each["accepted"], "why_not": each["error"]}
            for each in answer["results"]
        ]
        show_list(out, rows, ("channel", "accepted", "why_not"), "there are no channels")

    options.show(answer, show)
    if not all(each["accepted"] for each in answer["results"]):
        raise typer.Exit(Exit.NO)


def _show_status(out: Console, document: JsonValue) -> None:
    from rich.text import Text

    from uici.cli.rendering import show_list

    channels: list[JsonObject] = document["channels"]
    show_list(out, channels, _CHANNEL_COLUMNS, "there are no channels")
    for title, name, columns in (
        ("windows that are open: more of the kind is held back until they end", "windows",
         ("channel", "kind", "told", "opened_at", "ends_at")),
        ("messages that were given up, are held back, or wait", "messages", _MESSAGE_COLUMNS),
    ):  # fmt: skip
        if document[name]:
            out.print(Text(f"\n{title}", style="bold"))
            show_list(out, document[name], columns, "")
    if any(channel["dead"] for channel in channels):
        out.print(Text("\ntry them again: uici notify retry --all-dead", style="bold"))
