"""`uici audit`: proving and exporting the log of all decisions, from the state database itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from uici.cli.context import ConfigOption, Exit, StateOption, log_to_stderr, options_of
from uici.cli.local import database
from uici.model.errors import Problem, ProblemKind

if TYPE_CHECKING:
    from uici.audit.verifying import Report

audit = typer.Typer(help="Prove and export the log of all decisions.", no_args_is_help=True)

_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")

FromOption = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Not before: 2026-01-31 or 2026-01-31T12:00:00Z.")
]
ToOption = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before this time.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(audit, name="audit")


@audit.command()
def head(context: typer.Context, config: ConfigOption = None, state: StateOption = None) -> None:
    """Print the newest entry's number and hash: note it elsewhere, for `verify --expect`."""
    from uici import bootstrap
    from uici.audit.chain import head as head_of

    log_to_stderr()
    with bootstrap.open_state(config, database(state)) as (store, _), store.read() as connection:
        found = head_of(connection)
    noted = f"{found.seq}:{found.hash}"
    document = {
        "head": noted,
        "seq": found.seq,
        "hash": found.hash,
        "first": found.cut_seq + 1,
        "sealed_by": found.key_id,
    }
    options_of(context).show(document, lambda out, _: out.print(noted, soft_wrap=True, highlight=False))


@audit.command()
def verify(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="An export instead of the state; - is standard input.")
    ] = None,
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="SEQ:HASH", help="A head noted earlier, which has to be there.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Prove that no entry was changed, removed, put in or moved; exit code 1 and the first one if not."""
    from uici import bootstrap
    from uici.audit.verifying import lines_of, verify_lines, verify_stored
    from uici.model.terminals import printable

    log_to_stderr()
    wanted = _expected(expect)
    if file is not None:
        with _opened(file) as stream:
            report = verify_lines(lines_of(stream), wanted)
    else:
        with bootstrap.open_state(config, database(state)) as (store, seal), store.read() as connection:
            report = verify_stored(connection, seal, wanted)
    options = options_of(context)
    for note in report.notes:
        options.say(f"note: {note}")
    document = {"ok": report.good, **report.model_dump(exclude={"notes"}), "notes": list(report.notes)}
    options.show(document, lambda out, _: out.print(printable(_sentence(report)), soft_wrap=True, highlight=False))
    if not report.good:
        raise typer.Exit(Exit.NO)


@audit.command()
def export(
    context: typer.Context,
    since: FromOption = None,
    until: ToOption = None,
    after: Annotated[int, typer.Option("--after", metavar="SEQ", min=0, help="Only entries after this one.")] = 0,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Print entries as JSON lines, oldest first: what `verify --file` verifies, in every output format."""
    from uici import bootstrap
    from uici.audit.entries import shown
    from uici.audit.verifying import rows
    from uici.model.terminals import json_text
    from uici.store.times import utc_text

    log_to_stderr()
    first = utc_text(_time(since, "--from")) if since is not None else None
    last = utc_text(_time(until, "--to")) if until is not None else None
    with bootstrap.open_state(config, database(state)) as (store, _), store.read() as connection:
        for row in rows(connection, after=after):
            if (first is None or row["at"] >= first) and (last is None or row["at"] < last):
                typer.echo(json_text(shown(row)))


def _sentence(report: Report) -> str:
    if report.problem is not None:
        return f"NOT PROVED: {report.problem}"
    span = f"{report.first} to {report.last}" if report.entries else "none yet"
    return f"proved: {report.entries} entries ({span}), the last with the hash {report.hash}"


def _expected(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        raise Problem(
            ProblemKind.INVALID,
            "invalid_head",
            f"{text!r} is not a head of an audit log",
            where="--expect",
            allowed=("SEQ:HASH with 64 hexadecimal digits",),
            hint="`uici audit head` prints it",
        )
    return int(found[1]), found[2]


def _time(text: str, where: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(
            ProblemKind.INVALID,
            "invalid_time",
            f"{text!r} is not a time",
            where=where,
            allowed=("2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00"),
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    if str(file) == "-":
        yield sys.stdin
        return
    try:
        stream = file.open(encoding="utf-8")
    except OSError as error:
        raise Problem(
            ProblemKind.INVALID, "file_unreadable", f"{file}: {error.strerror or error}", where="--file"
        ) from None
    with stream:
        yield stream
