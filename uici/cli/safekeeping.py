"""`uici backup`, `uici restore`, `uici retention`: the state as a whole, from the database itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli.context import ConfigOption, StateOption, log_to_stderr, options_of
from uici.cli.local import database
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from rich.console import Console

retention = typer.Typer(help="See and carry out how long the state keeps what has ended.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A copy of the state.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.add_typer(retention, name="retention")


def backup(context: typer.Context, file: FileArgument, config: ConfigOption = None, state: StateOption = None) -> None:
    """Copy the state to FILE while UICI runs; the copy is checked, and only you may read it."""
    from uici import bootstrap

    log_to_stderr()
    done = bootstrap.back_up(config, database(state), file)
    options_of(context).show(
        done,
        lambda out, shown: out.print(
            f"{shown['file']}: {shown['bytes']} bytes, schema {shown['schema']}, as of {shown['of']}", soft_wrap=True
        ),
    )


def restore(context: typer.Context, file: FileArgument, config: ConfigOption = None, state: StateOption = None) -> None:
    """Put FILE in the place of the state, which is copied first. UICI must not run.

    Runs that were under way go to people, open questions are withdrawn, and everything is frozen until `uici unfreeze`.
    """
    from uici import bootstrap

    log_to_stderr()
    done = bootstrap.restore(config, database(state), file)

    def show(out: Console, shown: JsonObject) -> None:
        out.print(f"{shown['state']} is the backup of {shown['backup_of']}", soft_wrap=True)
        if shown["replaced"]:
            out.print(f"what it was before is kept in {shown['replaced']}", soft_wrap=True)
        out.print(f"{shown['escalated_runs']} runs that were under way go to people; everything is frozen")
        out.print("tokens that were revoked since are valid again: uici token list")

    options = options_of(context)
    options.show(done, show)
    options.say("next: start UICI, look at what was escalated, then: uici unfreeze")


@retention.command("show")
def show_retention(context: typer.Context, config: ConfigOption = None, state: StateOption = None) -> None:
    """Every kind of row: how long it is kept, how many there are, and how many are too old now."""
    from uici import bootstrap

    log_to_stderr()
    with bootstrap.open_retention(config, database(state)) as kept:
        _show(context, kept.overview())


@retention.command("run")
def run_retention(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Delete what is too old now, for as long as a round may take."""
    from uici import bootstrap

    log_to_stderr()
    with bootstrap.open_retention(config, database(state)) as kept:
        if dry_run:
            _show(context, [item for item in kept.overview() if item["too_old"]])
            return
        gone = dict(kept.round())
    options_of(context).show(
        {"deleted": gone},
        lambda out, _: out.print(", ".join(f"{count} {name}" for name, count in gone.items()) or "nothing is too old"),
    )


def _show(context: typer.Context, kinds: list[JsonObject]) -> None:
    from uici.cli.rendering import show_list

    columns = ("kind", "kept_seconds", "rows", "too_old")
    options_of(context).show({"kinds": kinds}, lambda out, _: show_list(out, kinds, columns, "nothing is too old"))
