"""`uici operations`: the verbs, as the server or the local configuration has them, and what their authors need."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uici.cli import authoring
from uici.cli.context import ConfigOption, Exit, Options, OutputFormat, log_to_stderr, options_of, segment
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean

if TYPE_CHECKING:
    from uici.catalogue.diagnostics import Diagnostic
    from uici.catalogue.loading import Catalogue
    from uici.model.site import Site

_COLUMNS = ("name", "risk", "mutates", "reversible", "platforms", "summary")

operations = typer.Typer(
    help="List, show, check and test operations. With a token `list` and `show` ask the server, else they read the "
    "local configuration.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The operation's name.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands, and those for authors of verbs."""
    authoring.register(operations)
    app.add_typer(operations, name="operations")


@operations.command("list")
def list_operations(context: typer.Context, config: ConfigOption = None) -> None:
    """List all operations."""
    from uici.catalogue.listing import listed_operations
    from uici.cli.rendering import show_list

    options = options_of(context)
    if options.given_token():
        page = options.client().get("/operations")
    else:
        page = {"operations": listed_operations(_site(config))}
    options.show(page, lambda out, _: show_list(out, page["operations"], _COLUMNS, "there are no operations"))


@operations.command("show")
def show_operation(context: typer.Context, name: Name, config: ConfigOption = None) -> None:
    """Show one operation with its parameters and translations."""
    from uici.catalogue.listing import shown_operation
    from uici.cli.rendering import show_details

    options = options_of(context)
    if options.given_token():
        document = options.client().get(f"/operations/{segment(name)}")
    else:
        document = shown_operation(_site(config), name)
    options.show(document, show_details)


@operations.command("lint")
def lint(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILES]...", help="Verb files, anywhere; default: the whole tree.")
    ] = None,
    config: ConfigOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 on warnings, too.")] = False,
    github: Annotated[bool, typer.Option("--github", help="Print annotations for GitHub's pipelines.")] = False,
    without_tests: Annotated[bool, typer.Option("--without-tests", help="Do not run the verbs' own tests.")] = False,
) -> None:
    """Check verbs: all problems of `uici check`, failing tests, and warnings about what will be regretted.

    Exits 1 when there are problems.
    """
    from uici.catalogue.advice import advise
    from uici.catalogue.diagnostics import CatalogueError
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.locations import shipped_config, shipped_operations
    from uici.translation.verb_tests import run_verb_tests

    log_to_stderr()
    options = options_of(context)
    executors = discover_executors()
    wanted = _existing(files or [])
    catalogue = _catalogue(config, wanted)
    problems: list[Diagnostic] = []
    try:
        site = catalogue.load()
        problems = [] if without_tests else [failure.diagnostic() for failure in run_verb_tests(site, executors)]
    except CatalogueError as error:
        problems = list(error.diagnostics)
    warnings = advise(catalogue.verbs.values(), executors)
    if wanted:
        named = {path.resolve() for path in wanted}
        problems = [each for each in problems if Path(each.file).resolve() in named]
        warnings = [each for each in warnings if Path(each.file).resolve() in named]
    elif catalogue.tree.directory is not None:
        # Nobody can heed advice about what ships.
        shipped = (str(shipped_config()), str(shipped_operations()))
        warnings = [each for each in warnings if not each.file.startswith(shipped)]
    if github:
        for each, level in (*((each, "error") for each in problems), *((each, "warning") for each in warnings)):
            typer.echo(_annotation(each, level))
    else:
        _show_findings(options, problems, warnings)
    raise typer.Exit(Exit.NO if problems or (strict and warnings) else Exit.OK)


@operations.command("test")
def run_tests(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAMES/FILES]...", help="Operations or verb files; default: all.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run the tests that verbs carry, and show the difference between the calls expected and those made. Sends nothing.

    Exits 1 when a test fails, or when what was named has none.
    """
    from uici.catalogue.executors import discover_executors
    from uici.translation.verb_tests import run_verb_tests

    log_to_stderr()
    options = options_of(context)
    given = names or []
    files = _existing(Path(each) for each in given if each.endswith(".yml"))
    site = _catalogue(config, files).load()
    chosen = {path.stem for path in files} | {each for each in given if not each.endswith(".yml")}
    for name in sorted(chosen - site.verb_tests.keys()):
        if name in site.operations:
            why, hint = f"{name} carries no tests", "verbs with tests are files of their own: operations/<verb>.yml"
        else:
            why, hint = f"there is no operation {name!r}{did_you_mean(name, site.verb_tests)}", ""
        raise Problem(ProblemKind.NOT_FOUND, "no_tests", why, where="NAMES/FILES", hint=hint)
    tests = {name: found for name, found in site.verb_tests.items() if not chosen or name in chosen}
    failures = run_verb_tests(site.model_copy(update={"verb_tests": tests}), discover_executors())
    count = sum(len(found) for found in tests.values())
    document: JsonObject = {
        "ok": not failures,
        "tests": count,
        "failures": [
            {
                "operation": each.operation,
                "test": each.test,
                "where": each.source,
                "detail": each.text,
                "expected": each.expected,
                "got": each.got,
            }
            for each in failures
        ],
    }
    if options.output is OutputFormat.TABLE:
        from uici.model.terminals import printable

        for each in failures:
            typer.echo(printable(f"{each.source}: {each.operation}: {each.test!r} failed"))
            for line in _difference(each.expected, each.got) or [each.text]:
                typer.echo(printable(f"  {line}"))
        typer.echo(f"{count} tests of {len(tests)} operations, {len(failures)} failed")
    else:
        options.show(document, lambda out, _: None)
    raise typer.Exit(Exit.NO if failures else Exit.OK)


def _catalogue(config: Path | None, files: Iterable[Path] = ()) -> Catalogue:
    """The local configuration, with `files` as further verbs where they are not part of it."""
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.loading import Catalogue
    from uici.catalogue.locations import config_directory
    from uici.catalogue.tree import Tree

    return Catalogue(Tree(config_directory(config), more=tuple(files)), executors=discover_executors())


def _site(config: Path | None) -> Site:
    log_to_stderr()
    return _catalogue(config).load()


def _existing(files: Iterable[Path]) -> list[Path]:
    found = list(files)
    for path in found:
        if not path.is_file() or path.suffix != ".yml":
            raise Problem(
                ProblemKind.INVALID, "no_such_file", f"{path} is no verb file", where="FILES",
                hint="a verb is one file that ends with .yml; `--config DIR` checks a whole tree",
            )  # fmt: skip
    return found


def _show_findings(options: Options, problems: list[Diagnostic], warnings: list[Diagnostic]) -> None:
    rows = [(each, "error") for each in problems] + [(each, "warning") for each in warnings]
    if options.output is not OutputFormat.TABLE:
        found = [
            {
                "level": level,
                "where": f"{each.file}:{each.line}:{each.column}",
                "code": each.code,
                "detail": each.text,
                "allowed": list(each.choices),
                "did_you_mean": each.suggestion or None,
            }
            for each, level in rows
        ]
        options.show({"ok": not problems, "findings": found}, lambda out, _: None)
        return
    from uici.model.terminals import printable

    for each, level in rows:
        place, _, rest = str(each).partition(": ")
        typer.echo(printable(f"{place}: {level}: {rest}"))
    typer.echo(
        f"{len(problems)} problem{'s' * (len(problems) != 1)}, {len(warnings)} warning{'s' * (len(warnings) != 1)}"
    )


def _annotation(diagnostic: Diagnostic, level: str) -> str:
    # https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    def escaped(text: str, *, inside: bool) -> str:
        text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        return text.replace(":", "%3A").replace(",", "%2C") if inside else text

    file, title = escaped(diagnostic.file, inside=True), escaped(diagnostic.code, inside=True)
    text = escaped(str(diagnostic).split(": ", 2)[2], inside=False)
    return f"::{level} file={file},line={diagnostic.line},col={diagnostic.column},title={title}::{text}"


def _difference(expected: Any, got: Any) -> list[str]:
    """A unified diff of two lists of calls; empty where there were no calls to compare."""
    if expected is None or got is None:
        return []

    def written(calls: Any) -> list[str]:
        return json.dumps(calls, indent=2, sort_keys=True, ensure_ascii=False).splitlines()

    return list(difflib.unified_diff(written(expected), written(got), "expected", "got", lineterm="", n=4))
