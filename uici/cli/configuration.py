"""Commands about the configuration that a server has in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from uici.cli.context import options_of
from uici.cli.remote import Reason
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("configuration")(configuration)
    app.command("reload")(reload)


def configuration(context: typer.Context) -> None:
    """Show which configuration is in force, since when, and what was rejected."""
    options = options_of(context)
    options.show(options.client().get("/configuration"), _show)


def reload(context: typer.Context, reason: Reason = "") -> None:
    """Load the configuration again. Exits 1 with every problem when it is rejected; the former one stays in force."""
    options = options_of(context)
    options.show(options.client().post("/configuration:reload", {"reason": reason}), _show)


def _show(out: Console, document: JsonObject) -> None:
    from rich.text import Text

    from uici.cli.rendering import cell, show_details
    from uici.model.terminals import printable

    rejected = document["rejected"]
    show_details(out, {name: value for name, value in document.items() if name != "rejected"})
    if rejected is not None:
        problems = "1 problem" if rejected["count"] == 1 else f"{rejected['count']} problems"
        heading = f"\nrejected: {rejected['digest']} since {cell(rejected['since'])}, with {problems}"
        out.print(Text(heading, style="bold red"), soft_wrap=True)
        for each in rejected["problems"]:
            out.print(Text(printable(f"{each['where']}: {each['code']}: {each['detail']}")), soft_wrap=True)
