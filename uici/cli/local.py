"""Commands that work on this machine's files: init, serve, check, demo, version."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli.context import ConfigOption, Options, OutputFormat, StateOption, log_to_stderr, options_of
from uici.model.collecting import uncollected
from uici.model.errors import Problem, ProblemKind

if TYPE_CHECKING:
    from uici.catalogue.diagnostics import Diagnostic

_HIGHEST_PORT = 65_535


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("init")(init)
    app.command("serve")(serve)
    app.command("check")(check)
    app.command("schema")(schema)
    app.command("demo")(demo)
    app.command("version")(show_version)


def init(context: typer.Context, directory: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Write a commented starter configuration into DIR."""
    from uici.catalogue.starter import write_starter

    written = write_starter(directory)
    options = options_of(context)
    listing = "\n".join(str(path) for path in written)
    options.show(
        {"directory": str(directory), "files": [str(path) for path in written]}, lambda out, _: out.print(listing)
    )
    options.say(f"next: uici check --config {directory}; uici serve --config {directory}")
    options.say(f"and a token to ask it: export UICI_TOKEN=$(uici token create --role admin --config {directory})")


def serve(
    config: ConfigOption = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Default: platform.yml's.")
    ] = None,
    state: StateOption = None,
) -> None:
    """Run the server: webhook, API and healing."""
    with uncollected(to_stay=True):
        from uici import bootstrap

    raise typer.Exit(bootstrap.serve(config, _address(listen), database(state)))


def check(context: typer.Context, config: ConfigOption = None) -> None:
    """Check the configuration and run the verbs' own tests; print every problem, or a summary."""
    from uici.catalogue.diagnostics import CatalogueError
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.listing import counted
    from uici.catalogue.loading import load_site
    from uici.catalogue.locations import config_directory, which_configuration
    from uici.notify.channels import check_channels
    from uici.translation.verb_tests import run_verb_tests

    log_to_stderr()
    options = options_of(context)
    executors = discover_executors()
    # What is wrong is raised, and printed by the root command.
    folder = config_directory(config)
    site = load_site(folder, executors=executors)
    failures = run_verb_tests(site, executors)
    unchecked = check_channels(site.platform.notify)
    if failures:
        raise CatalogueError(failure.diagnostic() for failure in failures)
    summary = {
        "ok": True,
        "environments": len(site.environments),
        "targets": len(site.targets),
        "operations": len(site.operations),
        "strategies": len(site.strategies),
        "findings": len(site.findings),
        "guides": len(site.guides),
        "verb tests": sum(len(tests) for tests in site.verb_tests.values()),
    }
    options.show(summary, lambda out, _: out.print(f"{which_configuration(folder)} is good: {counted(site)}"))
    for each in unchecked:
        options.say(f"not checked: {each}")


def show_diagnostics(options: Options, diagnostics: Iterable[Diagnostic]) -> None:
    """Print problems of configuration, one per line."""
    from uici.model.terminals import printable

    found = list(diagnostics)
    if options.output is OutputFormat.JSON:
        problems = [
            {
                "where": f"{each.file}:{each.line}:{each.column}",
                "code": each.code,
                "detail": each.text,
                "allowed": list(each.choices),
                "did_you_mean": each.suggestion or None,
            }
            for each in found
        ]
        options.show({"ok": False, "problems": problems}, lambda out, _: None)
        return
    for each in found:
        typer.echo(printable(str(each)))
    options.say(f"{len(found)} problem{'s' if len(found) != 1 else ''} found")


def schema(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A file of the configuration; without it they are listed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write all schemas into DIR.")] = None,
) -> None:
    """Print the JSON Schema of a configuration file, for editors."""
    from uici.catalogue.schema import MODELS, json_schema, write_schemas

    options = options_of(context)
    if out is not None:
        written = [str(path) for path in write_schemas(out)]
        options.show({"files": written}, lambda shown, _: shown.print("\n".join(written), soft_wrap=True))
    elif file is not None:
        # JSON in every format: that is what it is.
        typer.echo(json.dumps(json_schema(file), indent=2, ensure_ascii=False))
    else:
        options.show({"files": list(MODELS)}, lambda shown, _: shown.print("\n".join(MODELS)))


def demo(
    platform: Annotated[
        str, typer.Option("--platform", help="Where the services live: local, or oci, which is simulated.")
    ] = "local",
) -> None:
    """Break three services on this machine and watch them being healed; ends by itself."""
    from uici.cli import demo as demonstration

    raise typer.Exit(demonstration.run(platform))


def show_version(context: typer.Context) -> None:
    """Print the version."""
    options_of(context).show(
        {"version": version("uici")}, lambda out, document: out.print(f"uici {document['version']}")
    )


def database(state: str | None) -> str | None:
    """`--state`, checked. Raises Problem for what is no database URL."""
    if state is None or re.fullmatch(r"(sqlite|postgresql)(\+\w+)?://\S+", state):
        return state
    raise Problem(
        ProblemKind.INVALID,
        "invalid_state",
        f"{state!r} is not a database URL",
        where="--state",
        allowed=("sqlite:///path/to/uici.db",),
        hint="three slashes begin a relative path, four an absolute one",
    )


def _address(listen: str | None) -> str | None:
    port = (listen or "").rpartition(":")[2]
    if listen is None or (re.fullmatch(r"\S+:\d{1,5}", listen) and int(port) <= _HIGHEST_PORT):
        return listen
    raise Problem(
        ProblemKind.INVALID, "invalid_address", f"{listen!r} is not an address to listen on", where="--listen",
        allowed=("HOST:PORT", "[IPv6]:PORT"),
    )  # fmt: skip
