"""The `council` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from council.configuration import FILE, json_schema, load
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
    print(  # noqa: T201 # what the command is for
        f"{FILE} is good: {len(settings.routes)} routes, {len(settings.backends)} backends ({', '.join(kinds)})"
    )


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
            print(f"its key lies in {key_file(settings, folder)}", file=sys.stderr, flush=True)  # noqa: T201
        serve(settings, folder, listen=listen)
    except Problem as problem:
        _leave(str(problem))
    except OSError as error:
        _leave(f"cannot serve: {error}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of agents.yml, for editors."""
    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))  # noqa: T201


def _loaded(folder: Path | None) -> AgentsFile:
    try:
        return load(folder)
    except CatalogueError as error:
        for diagnostic in error.diagnostics:
            print(diagnostic, file=sys.stderr)  # noqa: T201
        raise typer.Exit(_NO) from None


def _leave(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201
    raise typer.Exit(_USAGE)


def main() -> None:
    """Run the command line."""
    app()
