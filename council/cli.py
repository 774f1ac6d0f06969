"""The `council` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from council.building import guides_folder
from council.configuration import FILE, json_schema, load
from council.memory.guides import read_folder
from council.serving import key_file, serve
from council.settings import AgentsFile
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.locations import config_directory
from uici.model.errors import Problem

app = typer.Typer(
    name="council",
    help="A self-hosted language-model service in front of any OpenAI-compatible server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Config = Annotated[
    Path | None, typer.Option("--config", help="Your configuration's folder; else $UICI_CONFIG_DIR.", file_okay=False)
]
_NO, _USAGE = 1, 2


@app.command("check")
def check(config: Config = None) -> None:
    """Check agents.yml; every problem is said with its place."""
    folder = config_directory(config)
    settings = _loaded(folder)
    kinds = sorted({backend.kind for backend in settings.backends.values()})
    typer.echo(f"{FILE} is good: {len(settings.routes)} routes, {len(settings.backends)} backends ({', '.join(kinds)})")


@app.command("serve")
def serving(
    config: Config = None,
    listen: Annotated[str | None, typer.Option("--listen", help="HOST:PORT instead of the configured one.")] = None,
) -> None:
    """Serve the OpenAI API until SIGTERM or Ctrl-C."""
    folder = config_directory(config)
    settings = _loaded(folder)
    try:
        if not settings.callers:
            typer.echo(f"its key lies in {key_file(settings, folder)}", err=True)
        serve(settings, folder, listen=listen)
    except Problem as problem:
        _leave(str(problem))
    except OSError as error:
        _leave(f"cannot serve: {error}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of agents.yml, for editors."""
    typer.echo(json.dumps(json_schema(), indent=1, ensure_ascii=False))


def _loaded(folder: Path | None) -> AgentsFile:
    try:
        settings = load(folder)
        guides = guides_folder(settings, folder)
        if guides is not None:
            read_folder(guides)
        return settings
    except CatalogueError as error:
        for diagnostic in error.diagnostics:
            typer.echo(diagnostic, err=True)
        raise typer.Exit(_NO) from None


def _leave(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(_USAGE)


def main() -> None:
    """Run the command line."""
    app()
