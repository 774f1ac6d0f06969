"""`uici rbac`: what a platform's own access control has to allow, as documents for the platform's own tools."""

from __future__ import annotations

from typing import Annotated

import typer

from uici.cli.context import ConfigOption, log_to_stderr, options_of
from uici.model.errors import Problem, ProblemKind, did_you_mean


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("rbac")(rbac)


def rbac(
    context: typer.Context,
    environment: Annotated[str, typer.Option("--environment", metavar="NAME", help="Of environments.yml.")],
    namespace: Annotated[
        str, typer.Option("--namespace", help="Of the account, and of bindings that name none.")
    ] = "uici",
    account: Annotated[str, typer.Option("--account", help="The account's name.")] = "uici",
    config: ConfigOption = None,
) -> None:
    """Print the rules that UICI needs in a cluster for the verbs and targets of an environment, and no more.

    Where the autonomy is `observe`, or a target is only watched, nothing that changes something is allowed.
    """
    import yaml

    from uici.catalogue.executors import discover_executors
    from uici.catalogue.loading import load_site
    from uici.catalogue.locations import config_directory
    from uici.model.grants import Account
    from uici.translation.needing import calls_needed

    log_to_stderr()
    options = options_of(context)
    executors = discover_executors()
    site = load_site(config_directory(config), executors=executors)
    if environment not in site.environments:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "unknown_environment",
            f"there is no environment {environment!r}{did_you_mean(environment, site.environments)}",
            where="--environment",
            allowed=sorted(site.environments),
        )
    platform = site.environments[environment].platform
    executor = executors.get(platform)
    wanted = Account(environment=environment, name=account, namespace=namespace)
    found = executor.grants(calls_needed(site, environment), wanted) if executor is not None else None
    if found is None:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "no_access_control",
            f"environment {environment!r} is on the platform {platform!r}, which has no rules of its own that could be "
            "printed",
            where="--environment",
            hint="see docs/executors.md for what UICI needs there",
        )
    for note in found.notes:
        options.say(f"note: {note}")
    text = yaml.safe_dump_all(found.documents, sort_keys=False, explicit_start=True)
    options.show(
        {"documents": list(found.documents), "notes": list(found.notes)}, lambda out, _: typer.echo(text.rstrip())
    )
