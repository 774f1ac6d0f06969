"""`uici operations new` and `uici operations coverage`: what the authors of verbs begin and end with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli.context import ConfigOption, OutputFormat, log_to_stderr, options_of
from uici.model.call import Risk
from uici.model.errors import Problem, ProblemKind

if TYPE_CHECKING:
    from rich.console import Console

    from uici.catalogue.coverage import Coverage
    from uici.catalogue.scaffold import Parameter


def register(operations: typer.Typer) -> None:
    """Add this module's commands below `uici operations`."""
    operations.command("new")(new)
    operations.command("coverage")(coverage)


def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The verb's name, and the file's.")],
    summary: Annotated[str | None, typer.Option(help="What it does, in a sentence.")] = None,
    mutates: Annotated[bool | None, typer.Option("--mutates/--reads", help="Whether it changes something.")] = None,
    risk: Annotated[Risk | None, typer.Option(help="How much harm it can do when it is wrong.")] = None,
    platform: Annotated[list[str] | None, typer.Option(help="Where it works; may be repeated.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME:KIND or NAME:KIND:required, with KIND text, number or boolean.")
    ] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing; --summary is needed then.")] = False,
    config: ConfigOption = None,
) -> None:
    """Begin a verb: asks what is not given, and writes operations/NAME.yml beside the configuration.

    The file is sound. Where only its author can go on, its own test fails until that is done, and no server takes it.
    """
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.locations import config_directory
    from uici.catalogue.scaffold import NewVerb, write
    from uici.catalogue.scaffold import parameter as parsed

    log_to_stderr()
    executors = discover_executors()
    if no_input and not summary:
        raise Problem(ProblemKind.INVALID, "missing_summary", "say what the verb does", where="--summary")
    given = [parsed(each) for each in parameter or ()]
    asked = summary or str(typer.prompt("What does it do, in a sentence"))
    changes = mutates if mutates is not None else False if no_input else typer.confirm("Does it change something?")
    default = Risk.HIGH if changes else Risk.LOW
    level = risk or (
        default if no_input else Risk(_choice("How much harm can it do", [each.value for each in Risk], default))
    )
    places = _platforms(platform, sorted(executors), no_input=no_input)
    if parameter is None and not no_input:
        given = _asked_parameters()
    if len(asked) < 5:
        raise Problem(ProblemKind.INVALID, "short_summary", "a summary has at least five characters", where="--summary")
    verb = NewVerb(
        name=name, summary=asked, mutates=changes, risk=level, platforms=tuple(places), parameters=tuple(given)
    )
    path = write(verb, (config_directory(config) or Path()) / "operations", executors)
    unfinished = "its test fails until you have written the call that changes something; then: " if changes else ""
    document = {"written": str(path), "next": f"{unfinished}uici operations test {path}"}
    options_of(context).show(document, lambda out, _: _told(out, document))


def coverage(
    context: typer.Context,
    config: ConfigOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, as docs/operations.md has it.")] = False,
) -> None:
    """Print which verb works on which platform, and the reason for each gap."""
    from uici.catalogue.coverage import coverage_of
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.loading import load_site
    from uici.catalogue.locations import config_directory

    log_to_stderr()
    executors = discover_executors()
    found = coverage_of(load_site(config_directory(config), executors=executors), executors)
    options = options_of(context)
    if markdown:
        typer.echo(found.markdown(), nl=False)
    elif json_ or options.output is OutputFormat.JSON:
        import json

        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        options.show(found.as_json(), lambda out, _: _shown(out, found))


def _shown(out: Console, found: Coverage) -> None:
    from rich.text import Text

    from uici.cli.rendering import show_list
    from uici.model.terminals import printable

    show_list(out, found.rows(), ("name", *found.platforms), "there are no operations")
    for name, platform, why in found.reasons():
        out.print(Text(printable(f"{name} on {platform}: {why}")), soft_wrap=True)


def _told(out: Console, document: dict[str, str]) -> None:
    from rich.text import Text

    from uici.model.terminals import printable

    for key, value in document.items():
        out.print(Text(printable(f"{key}: {value}")), soft_wrap=True)


def _platforms(given: list[str] | None, known: list[str], *, no_input: bool) -> list[str]:
    if given is None:
        given = known if no_input else str(typer.prompt("On which platforms", default=" ".join(known))).split()
    for each in given:
        if each not in known:
            raise Problem(
                ProblemKind.INVALID,
                "unknown_platform",
                f"{each!r:.100} is no platform",
                where="--platform",
                allowed=known,
            )
    return given


def _asked_parameters() -> list[Parameter]:
    from uici.catalogue.scaffold import parameter

    found: list[Parameter] = []
    while text := str(typer.prompt("A parameter, as NAME:KIND or NAME:KIND:required (empty: no more)", default="")):
        try:
            found.append(parameter(text))
        except Problem as problem:
            typer.echo(str(problem.detail))
    return found


def _choice(question: str, choices: list[str], default: str) -> str:
    while (answer := str(typer.prompt(f"{question} ({', '.join(choices)})", default=default))) not in choices:
        typer.echo(f"one of {', '.join(choices)}")
    return answer
