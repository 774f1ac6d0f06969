"""`uici preview`: what would be done, by the server or, without one, by the configuration alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from uici.cli import reviewing
from uici.cli.context import ConfigOption, EnvironmentOption, Exit, Options, OutputFormat, log_to_stderr, options_of
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind

_MOST_BYTES = 33_554_432

Preview = Callable[[JsonObject, str | None], JsonObject]


class Summary(StrEnum):
    """Another way to print previews."""

    MARKDOWN = "markdown"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("preview")(preview)


def preview(
    context: typer.Context,
    payloads: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PAYLOAD.json|DIR]...", help="Alertmanager notifications; - reads stdin."),
    ] = None,
    environment: EnvironmentOption = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="A plan as a JSON file; - reads stdin.")] = None,
    incident: Annotated[str | None, typer.Option("--incident", metavar="ID", help="An incident of the server.")] = None,
    config: ConfigOption = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show what would change on the targets, now against after.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="Compare with an answer of `preview -o json`.")
    ] = None,
    summary: Annotated[
        Summary | None, typer.Option("--summary", help="One table for all, for a pipeline's page.")
    ] = None,
    expect: Annotated[
        list[reviewing.Outcome] | None,
        typer.Option("--expect", help="Exit 1 unless every preview ends in one of these; may be given several times."),
    ] = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Exit 10 when something would change, or differs from --against; 11 when the platform would refuse.",
        ),
    ] = False,
) -> None:
    """Show exactly what would be done, and do nothing.

    With a token the server is asked. Without one the preview is made here from the configuration. Several files, or a
    folder with its *.json, give a table; a file that is no notification is reported, and the others go on.

    Exit codes beside the usual ones: 1 when --expect is not met; 2 when a payload was broken; with --exit-code 10 when
    something would change, or differs from --against, and 11 when the platform would refuse a call. The first that
    applies of 2, 1, 11, 10.
    """
    if sum((bool(payloads), plan is not None, incident is not None)) != 1:
        raise Problem(
            ProblemKind.INVALID,
            "one_source",
            "give exactly one of PAYLOAD.json (one or several, or a folder), --plan FILE, --incident ID",
            where="arguments",
        )
    options = options_of(context)
    earlier = reviewing.stored(_read(against, "--against"), against) if against is not None else None
    with _previews(options, config) as ask:
        if payloads and (len(payloads) > 1 or payloads[0].is_dir()):
            answer = {"files": [_of_file(path, ask, environment) for path in _files(payloads)]}
        else:
            answer = ask(_document(payloads, plan, incident), environment)
    found = reviewing.previews_of(answer)
    if earlier is not None:
        differences = reviewing.differences(earlier, found)
        answer = answer | {"differences": differences}
        if options.output is OutputFormat.TABLE:
            options.show(answer, lambda out, _: reviewing.show_differences(out, differences))
            raise typer.Exit(_status(answer, found, expect or (), exit_code, bool(differences)))
    _show(options, answer, diff=diff, summary=summary)
    changes = bool(answer["differences"]) if earlier is not None else any(map(reviewing.would_change, found))
    raise typer.Exit(_status(answer, found, expect or (), exit_code, changes))


def _show(options: Options, answer: JsonObject, *, diff: bool, summary: Summary | None) -> None:
    from uici.cli.rendering import show_preview

    if options.output is OutputFormat.JSON:
        options.show(answer, show_preview)
    elif summary is Summary.MARKDOWN:
        typer.echo(reviewing.markdown(answer))
    elif diff:
        options.show(answer, reviewing.show_changes)
    elif "files" in answer:
        options.show(answer, reviewing.show_files)
    else:
        options.show(answer, show_preview)


def _status(
    answer: JsonObject,
    found: Sequence[JsonObject],
    expected: Sequence[reviewing.Outcome],
    exit_code: bool,
    changes: bool,
) -> int:
    if any("problem" in file for file in answer.get("files", ())):
        return Exit.USAGE
    if expected and any(reviewing.outcome_of(each) not in expected for each in found):
        wanted = ", ".join(expected)
        met = sorted({reviewing.outcome_of(each) for each in found} - set(expected))
        typer.echo(f"expected {wanted}; met {', '.join(met)}", err=True)
        return Exit.NO
    if exit_code and any(map(reviewing.refused_by_platform, found)):
        return Exit.REFUSED
    return Exit.CHANGES if exit_code and changes else Exit.OK


@contextmanager
def _previews(options: Options, config: Path | None) -> Iterator[Preview]:
    """Who makes the previews: the server, or, without a token, the configuration at hand."""
    if options.given_token():
        client = options.client()
        yield lambda document, environment: client.post("/plans:preview", document, environment=environment)
        return
    from uici import bootstrap

    log_to_stderr()
    with bootstrap.offline_previews(config) as ask:
        yield ask


def _files(payloads: Sequence[Path]) -> list[Path]:
    """The files that were named, and the *.json of folders that were. Raises Problem for a folder without any."""
    files: list[Path] = []
    for path in payloads:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(path.glob("*.json"))
        if not found:
            raise Problem(
                ProblemKind.INVALID, "no_payloads", f"{path} holds no *.json", where=str(path),
                hint="give a folder of stored notifications, one per file",
            )  # fmt: skip
        files += found
    return files


def _of_file(path: Path, ask: Preview, environment: str | None) -> JsonObject:
    try:
        return {"file": str(path)} | ask(_notification(path), environment)
    except Problem as problem:
        if problem.kind in (ProblemKind.UNAVAILABLE, ProblemKind.UNAUTHENTICATED, ProblemKind.FORBIDDEN):
            raise  # it is not the file's
        told = {"code": problem.code, "detail": problem.detail, "where": problem.where, "hint": problem.hint}
        return {"file": str(path), "problem": {name: text for name, text in told.items() if text}}


def _document(payloads: Sequence[Path] | None, plan: Path | None, incident: str | None) -> JsonObject:
    if payloads:
        return _notification(payloads[0])
    if plan is not None:
        return {"plan": _read(plan, "--plan")}
    return {"incident": incident}


def _notification(path: Path) -> JsonObject:
    document = _read(path, "PAYLOAD.json")
    if "alerts" not in document:
        raise Problem(
            ProblemKind.UNPROCESSABLE, "not_a_notification", f"{path} has no `alerts`", where=str(path),
            hint="give a body that Alertmanager sends; a plan goes by --plan",
        )  # fmt: skip
    return document


def _read(path: Path, where: str) -> JsonObject:
    try:
        content = sys.stdin.buffer.read(_MOST_BYTES + 1) if str(path) == "-" else path.read_bytes()
        document = json.loads(content[:_MOST_BYTES].decode())
    except OSError as error:
        raise Problem(ProblemKind.INVALID, "file_unreadable", f"{path}: {error.strerror}", where=where) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(ProblemKind.INVALID, "malformed_json", f"{path} is not JSON: {reason}", where=where) from None
    if not isinstance(document, dict):
        raise Problem(ProblemKind.INVALID, "malformed_json", f"{path} holds no JSON object", where=where)
    return document
