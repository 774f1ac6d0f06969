"""Commands about tokens, in the state database itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from uici.access.roles import Role
from uici.cli.context import ConfigOption, StateOption, log_to_stderr, options_of
from uici.cli.local import database
from uici.model.call import Risk
from uici.model.durations import duration_of
from uici.model.errors import Problem, ProblemKind
from uici.model.scope import ANY, Scope

tokens = typer.Typer(help="Create, list, rotate and revoke tokens, in the state database itself.", no_args_is_help=True)

TokenId = Annotated[str, typer.Argument(metavar="ID", help="The part between the underscores: uici_ID_...")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(tokens, name="token")


@tokens.command("create")
def create_token(
    context: typer.Context,
    role: Annotated[Role, typer.Option("--role", help="What the token may do.")],
    name: Annotated[
        str, typer.Option("--name", help="Whose it is, shown wherever it acts; tokens of one name are one person's.")
    ] = "",
    expires: Annotated[
        float | None, typer.Option("--expires", metavar="DAYS", min=0.001, max=36500, help="Default: never.")
    ] = None,
    environment: Annotated[
        list[str] | None,
        typer.Option("--environment", "-e", metavar="PATTERN", help="Only here; * is any text. May be repeated."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="PATTERN", help="Only these targets. May be repeated.")
    ] = None,
    highest_risk: Annotated[
        Risk, typer.Option("--highest-risk", help="Of a plan that it may start or approve.")
    ] = Risk.DESTRUCTIVE,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Create a token and print it, once."""
    from uici import bootstrap

    scope = _scope(environment, target, highest_risk)
    until = datetime.now(UTC) + timedelta(days=expires) if expires is not None else None
    log_to_stderr()
    with bootstrap.open_tokens(config, database(state)) as store:
        token = store.create(role, name, until, scope)
    # Alone on stdout, in every format, so that TOKEN=$(uici token create ...) is right.
    typer.echo(token)


@tokens.command("rotate")
def rotate_token(
    context: typer.Context,
    id_: TokenId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old one goes on; 0s: not at all.")
    ] = "24h",
    expires: Annotated[
        float | None,
        typer.Option(
            "--expires", metavar="DAYS", min=0.001, max=36500, help="Default: as long as the old one was made for."
        ),
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Create a token that follows another: same name, role and scope. Print it, once; the old one ends later."""
    from uici import bootstrap

    log_to_stderr()
    lifetime = timedelta(days=expires) if expires is not None else None
    with bootstrap.open_tokens(config, database(state)) as store:
        rotated = store.rotate(id_, duration_of(overlap, "--overlap"), lifetime)
    typer.echo(rotated.token)
    former = rotated.former
    ends = "is revoked" if former.revoked_at else f"ends at {former.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    options_of(context).say(f"{rotated.info.id} follows {former.id} ({former.name}), which {ends}")


@tokens.command("list")
def list_tokens(context: typer.Context, config: ConfigOption = None, state: StateOption = None) -> None:
    """List tokens; never what they are."""
    from uici import bootstrap
    from uici.cli.rendering import show_list

    log_to_stderr()
    with bootstrap.open_tokens(config, database(state)) as store:
        found = store.list()
    rows = [info.model_dump(mode="json") for info in found]
    shown = [row | {"scope": str(info.scope)} for row, info in zip(rows, found, strict=True)]
    columns = ("id", "name", "role", "scope", "created_at", "expires_at", "revoked_at", "replaces")
    options_of(context).show({"tokens": rows}, lambda out, _: show_list(out, shown, columns, "there are no tokens"))


@tokens.command("revoke")
def revoke_token(context: typer.Context, id_: TokenId, config: ConfigOption = None, state: StateOption = None) -> None:
    """Revoke a token for ever."""
    from uici import bootstrap

    log_to_stderr()
    with bootstrap.open_tokens(config, database(state)) as store:
        info = store.revoke(id_)
    options_of(context).show(
        info.model_dump(mode="json"), lambda out, _: out.print(f"{info.id} ({info.name}) is revoked")
    )


def _scope(environments: list[str] | None, targets: list[str] | None, highest_risk: Risk) -> Scope:
    try:
        return Scope(
            environments=tuple(environments or (ANY,)), targets=tuple(targets or (ANY,)), highest_risk=highest_risk
        )
    except ValueError:
        raise Problem(
            ProblemKind.INVALID,
            "invalid_pattern",
            "a pattern is a name of at most 253 characters without spaces and commas; * is any text, ? one character",
            where="--environment or --target",
        ) from None
