"""`uici autonomy`: what was not done because of the level of autonomy, before somebody raises it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli.context import EnvironmentOption, options_of, segment
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from rich.console import Console

autonomy = typer.Typer(help="See what UICI would have done, had it been allowed to.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(autonomy, name="autonomy")


@autonomy.command()
def report(
    context: typer.Context,
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How long back: 30m, 12h, 7d, 4w.")] = "7d",
    target: Annotated[str | None, typer.Option("--target", help="Only this target.")] = None,
    environment: EnvironmentOption = None,
) -> None:
    """Per target: what was held back, what the other guards said of it, and how it ended without UICI."""
    options = options_of(context)
    shown = options.client().get("/autonomy/report", since=since, target=target, environment=environment)
    options.show(shown, _show_report)


@autonomy.command()
def show(context: typer.Context, run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]) -> None:
    """What one run would have done: exact calls and each guard's answer, as its preview was then."""
    from uici.cli.rendering import show_details, show_preview

    options = options_of(context)
    found: JsonObject = options.client().get(f"/autonomy/runs/{segment(run_id)}")

    def both(out: Console, document: JsonObject) -> None:
        show_preview(out, document)
        show_details(out, {"what became of it": document["held_back"]})

    options.show(found, both)


def _show_report(out: Console, document: JsonObject) -> None:
    from rich.text import Text

    from uici.cli.rendering import cell, table
    from uici.model.terminals import printable

    if not document["targets"]:
        out.print(Text.assemble("nothing was held back and nothing acted since ", cell(document["since"])))
    for number, item in enumerate(document["targets"]):
        if number:
            out.print()
        head = Text(printable(f"{item['target']} in {item['environment']}"), style="bold")
        out.print(head.append(f"  autonomy is {item['autonomy']}", style="dim"))
        out.print(Text(printable(item["summary"])))
        rows = [
            {
                "remedy": remedy["remedy"],
                "times": remedy["times"],
                "risk": remedy["risk"],
                "would have": _counts(remedy["would_have"]),
                "because of": _counts(remedy["objections"]),
                "ended": _counts(remedy["ended"]),
                "last run": remedy["runs"][-1],
            }
            for remedy in item["remedies"]
        ]
        if rows:
            out.print(table(rows, tuple(rows[0]), out.width))
        if item["approvals"]:
            out.print(Text(f"approvals: {_counts(item['approvals'])}"))
    if document["targets"]:
        out.print(Text("`uici autonomy show RUN` shows the calls and each guard's answer", style="dim"))


def _counts(counted: JsonObject) -> str:
    return ", ".join(f"{count} {what}" for what, count in counted.items())
