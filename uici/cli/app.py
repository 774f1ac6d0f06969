"""The `uici` command: global options, and the one place where problems become messages and exit codes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from uici.catalogue.diagnostics import UNREADABLE, CatalogueError
from uici.cli import (
    alertmanager,
    audit,
    autonomy,
    configuration,
    doctor,
    guides,
    learning,
    local,
    looking,
    notify,
    operations,
    previewing,
    rbac,
    remote,
    safekeeping,
    tokens,
    watching,
)
from uici.cli.context import DEFAULT_SERVER, Exit, Options, OutputFormat, exit_code, options_of, report
from uici.model.errors import Problem

_GLOBAL = frozenset({"--output", "-o", "--server", "--token", "--token-file"})

_HELP = """Heal services: from an alert to a guarded, durable and verified remedy.

The options below may stand before or after the command's name.

Exit codes: 0 done; 1 the answer is no (problems found, not healed, no such thing, a conflict); 2 wrong usage or input,
also files that cannot be read or written; 3 the server cannot be reached, or the token does not suffice; 130 Ctrl-C.
"""


def hoisted(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the global options first, wherever they stood; everything after `--` stays."""
    first: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument in _GLOBAL:
            value = next(remaining, None)
            first += [argument] if value is None else [argument, value]
        elif argument.startswith("--") and argument.partition("=")[0] in _GLOBAL:
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest


class _Root(TyperGroup):
    """Accepts global options anywhere; turns problems into messages."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Problem as problem:
            report(problem, options_of(ctx).output)
            raise typer.Exit(exit_code(problem)) from None
        except CatalogueError as error:
            local.show_diagnostics(options_of(ctx), error.diagnostics)
            unread = all(each.code in UNREADABLE for each in error.diagnostics)
            raise typer.Exit(Exit.USAGE if unread else Exit.NO) from None
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
        except BrokenPipeError:
            # The reader (`head`, a pager) has seen enough; without this Python complains while it ends.
            os._exit(Exit.OK)


app = typer.Typer(
    name="uici", cls=_Root, help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True
)


@app.callback()
def root(
    context: typer.Context,
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="How answers are printed.")
    ] = OutputFormat.TABLE,
    server: Annotated[str, typer.Option("--server", envvar="UICI_URL", help="The server's URL.")] = DEFAULT_SERVER,
    token: Annotated[
        str | None, typer.Option("--token", envvar="UICI_TOKEN", help="Token; other users can see options.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="File that holds the token.")] = None,
) -> None:
    """Heal services."""
    # Who names a file means that file, also where the environment holds another token.
    # Compared by name: Typer brings its own Click from some version on.
    if token_file is not None and getattr(context.get_parameter_source("token"), "name", "") == "ENVIRONMENT":
        token = None
    context.obj = Options(output=output, server=server, token=token, token_file=token_file)


local.register(app)
tokens.register(app)
previewing.register(app)
looking.register(app)
doctor.register(app)
rbac.register(app)
operations.register(app)
guides.register(app)
watching.register(app)
remote.register(app)
learning.register(app)
configuration.register(app)
notify.register(app)
alertmanager.register(app)
autonomy.register(app)
safekeeping.register(app)
audit.register(app)
