"""Alertmanager's side of the connection: what to write into its file, and what is wrong in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uici.cli.context import DEFAULT_SERVER, ConfigOption, Exit, options_of
from uici.model.errors import Problem, ProblemKind

_TOKEN_FILE = "/etc/alertmanager/uici.token"  # noqa: S105 - a file's name is no secret

commands = typer.Typer(help="Alertmanager's own configuration: print what UICI needs in it, or check a file.")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    commands.command("config")(config)
    app.add_typer(commands, name="alertmanager")


@commands.callback()
def group() -> None:
    """Alertmanager's own configuration: print what UICI needs in it, or check a file."""


def config(
    context: typer.Context,
    url: Annotated[str, typer.Option("--url", help="Where Alertmanager reaches UICI.")] = DEFAULT_SERVER,
    people: Annotated[str, typer.Option("--people", help="Your receiver that tells people.")] = "people",
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Say what is missing or wrong in your file instead.")
    ] = None,
    site: ConfigOption = None,
) -> None:
    """Print the routes and the receiver for UICI, or check your file; --token-file names the file of the token."""
    from uici.catalogue.alertmanager_file import check_alertmanager, wanted_text
    from uici.cli.local import show_diagnostics

    options = options_of(context)
    if check is None:
        token_file = str(options.token_file or _TOKEN_FILE)
        if not url.startswith(("http://", "https://")) or any(
            text.split() != [text] for text in (url, token_file, people)
        ):
            raise Problem(
                ProblemKind.INVALID,
                "bad_option",
                "--url is an http(s) URL, and neither it nor the names hold spaces",
                where="--url, --token-file, --people",
            )
        text = wanted_text(url, token_file, people)
        options.show({"yaml": text}, lambda out, _: out.print(text, end="", soft_wrap=True))
        return
    report = check_alertmanager(check, _heartbeat_within(site))
    if report:
        show_diagnostics(options, sorted(report))
        raise typer.Exit(Exit.NO)
    options.show({"ok": True, "file": str(check)}, lambda out, _: out.print(f"{check} and UICI fit together"))


def _heartbeat_within(site: Path | None) -> float | None:
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.loading import load_site
    from uici.catalogue.locations import config_directory

    strategies = load_site(config_directory(site), executors=discover_executors()).strategies
    beats = [item.within_seconds for item in strategies.values() if item.within_seconds is not None]
    return min(beats, default=None)
