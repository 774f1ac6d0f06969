"""What the commands share: the global options, the client that they lead to, and where answers are printed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from uici.cli import completing
from uici.model.base import JsonValue
from uici.model.errors import Problem, ProblemKind
from uici.model.terminals import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console

    from uici.cli.client import Client

DEFAULT_SERVER = "http://127.0.0.1:8765"


class OutputFormat(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"


class Exit:
    """Exit codes; the root command's help documents them."""

    OK = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3
    CHANGES = 10
    """`preview --exit-code`: something would change. Apart from all others, so that a pipeline can tell."""
    REFUSED = 11
    """`preview --exit-code`: the platform would refuse a call."""
    INTERRUPTED = 130
    """128 and the number of SIGINT, as shells count."""


_EXIT_OF = {
    ProblemKind.INVALID: Exit.USAGE,
    ProblemKind.UNPROCESSABLE: Exit.USAGE,
    ProblemKind.TOO_LARGE: Exit.USAGE,
    ProblemKind.NOT_FOUND: Exit.NO,
    ProblemKind.CONFLICT: Exit.NO,
    ProblemKind.UNAUTHENTICATED: Exit.UNREACHABLE,
    ProblemKind.FORBIDDEN: Exit.UNREACHABLE,
    ProblemKind.TOO_MANY: Exit.UNREACHABLE,
    ProblemKind.UNAVAILABLE: Exit.UNREACHABLE,
}


def exit_code(problem: Problem) -> int:
    """The exit code that tells of `problem`."""
    if problem.kind is ProblemKind.FORBIDDEN and problem.code not in ("permission_missing", "out_of_scope", "no_role"):
        return Exit.NO  # a guard's answer, not the token's
    if problem.code == "state_unusable":
        return Exit.USAGE  # a file of this machine; no server was asked
    return _EXIT_OF[problem.kind]


@dataclass(frozen=True)
class Options:
    """The global options."""

    output: OutputFormat = OutputFormat.TABLE
    server: str = DEFAULT_SERVER
    token: str | None = None
    token_file: Path | None = None

    def given_token(self) -> str | None:
        """The token, from wherever it was given. Raises Problem when its file cannot be read."""
        if self.token:
            return self.token.strip()
        if self.token_file is None:
            return None
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise Problem(
                ProblemKind.INVALID, "token_file_unreadable", f"{self.token_file}: {reason}", where="--token-file"
            ) from None

    def client(self) -> Client:
        """A client of the server. Raises Problem when no token was given."""
        from uici.cli.client import Client

        token = self.given_token()
        if not token:
            raise Problem(
                ProblemKind.UNAUTHENTICATED,
                "no_token",
                "this needs a token",
                where="--token",
                allowed=("--token-file FILE", "UICI_TOKEN in the environment", "--token TOKEN"),
                hint="`uici token create --role ROLE` on the server's machine makes one",
            )
        return Client(self.server, token)

    def show(self, document: JsonValue, render: Callable[[Console, JsonValue], None]) -> None:
        """Print an answer: as JSON, or as `render` draws it."""
        if self.output is OutputFormat.JSON:
            typer.echo(json_text(document, indent=2))
        else:
            from uici.cli.rendering import console

            render(console(), document)

    def say(self, text: str) -> None:
        """A remark for people, on stderr, so that what is piped on holds answers only."""
        typer.echo(printable(text), err=True)


def segment(text: str) -> str:
    """`text` as one segment of a path of the API. Raises Problem for what would be a step up or nowhere."""
    if text in (".", ".."):
        raise Problem(ProblemKind.NOT_FOUND, "no_such_name", f"nothing is called {text!r}", where="the command")
    return quote(text, safe="")


def options_of(context: typer.Context) -> Options:
    """The global options of this call."""
    options = context.find_root().obj
    return options if isinstance(options, Options) else Options()


def report(problem: Problem, output: OutputFormat) -> None:
    """Print a problem on stderr: what, where, what would be right, what to do."""
    if output is OutputFormat.JSON:
        members = {
            "code": problem.code,
            "detail": problem.detail,
            "where": problem.where,
            "allowed": list(problem.allowed),
            "hint": problem.hint,
            "errors": list(problem.errors),
        }
        typer.echo(json_text({key: value for key, value in members.items() if value}), err=True)
        return
    lines = [f"error: {problem.detail} [{problem.code}]"]
    if problem.where:
        lines.append(f"  where:   {problem.where}")
    if problem.allowed:
        lines.append(f"  allowed: {', '.join(problem.allowed)}")
    if problem.hint:
        lines.append(f"  hint:    {problem.hint}")
    if len(problem.errors) > 1:
        lines += [
            f"  - {each.get('where') or each.get('pointer', '')}: {each.get('detail', '')}" for each in problem.errors
        ]
    for line in lines:
        typer.echo(printable(line), err=True)


def log_to_stderr() -> None:
    """Warnings of our rooms go to stderr: what is on stdout is an answer that a program may read."""
    import structlog

    structlog.configure(
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration folder; default $UICI_CONFIG_DIR, then this folder.")
]
StateOption = Annotated[str | None, typer.Option("--state", help="Database URL; default: platform.yml's `state`.")]
EnvironmentOption = Annotated[
    str | None,
    typer.Option(
        "--environment", "-e", help="Environment; default: the site's.", autocompletion=completing.environments
    ),
]
