"""`uici guides`: what people wrote down for people, as the server or the local configuration has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli.context import ConfigOption, log_to_stderr, options_of, segment

if TYPE_CHECKING:
    from rich.console import Console

    from uici.model.base import JsonObject
    from uici.model.site import Site

_COLUMNS = ("name", "title", "strategies", "findings", "targets", "tags")

guides = typer.Typer(
    help="List, search and read guides. With a token the server is asked, else the local configuration is read.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(guides, name="guides")


@guides.command("list")
def list_guides(
    context: typer.Context,
    search: Annotated[
        str | None, typer.Option("--search", "-s", metavar="WORDS", help="Only those with all these words.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """List all guides, or search them."""
    from uici.catalogue.guide_search import GuideIndex, listed_guide
    from uici.cli.rendering import show_list

    options = options_of(context)
    if options.given_token():
        page = options.client().get("/guides", q=search)
    else:
        known = _site(config).guides
        found = known.values() if search is None else GuideIndex(known).found(search)
        page = {"guides": [listed_guide(guide) for guide in found]}
    nothing = "there are no guides" if search is None else "no guide has all these words"
    options.show(page, lambda out, _: show_list(out, page["guides"], _COLUMNS, nothing))


@guides.command("show")
def show_guide(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The guide's name.")],
    config: ConfigOption = None,
) -> None:
    """Show one guide."""
    from uici.catalogue.guide_search import shown_guide

    options = options_of(context)
    if options.given_token():
        document = options.client().get(f"/guides/{segment(name)}")
    else:
        document = shown_guide(_site(config).guides, name)
    options.show(document, _show)


def _show(out: Console, document: JsonObject) -> None:
    from rich.text import Text

    from uici.cli.rendering import show_details
    from uici.model.terminals import printable

    head = {name: value for name, value in document.items() if name not in ("markdown", "html") and value}
    show_details(out, head)
    out.print()
    for line in str(document["markdown"]).splitlines():
        out.print(Text(printable(line)), soft_wrap=True)


def _site(config: ConfigOption) -> Site:
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.loading import load_site
    from uici.catalogue.locations import config_directory

    log_to_stderr()
    return load_site(config_directory(config), executors=discover_executors())
