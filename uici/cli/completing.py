"""What a shell may offer for an argument: names from the configuration at hand, ids from the server.

A completion never complains and never lets people wait: what cannot be known quickly is not offered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from uici.model.errors import Problem

if TYPE_CHECKING:
    from uici.model.site import Site

_ANSWER_SECONDS = 1.0
_MOST = 100


def operations(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Operations of the configuration."""
    site = _site(context)
    return _offered(((name, each.summary) for name, each in site.operations.items()) if site else (), incomplete)


def targets(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Targets of the configuration."""
    site = _site(context)
    return _offered(((name, each.summary) for name, each in site.targets.items()) if site else (), incomplete)


def environments(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Environments of the configuration."""
    site = _site(context)
    return _offered(((name, each.summary) for name, each in site.environments.items()) if site else (), incomplete)


def runs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest runs of the server."""
    return _offered(_ids(context, "runs"), incomplete)


def incidents(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest incidents of the server."""
    return _offered(_ids(context, "incidents"), incomplete)


def watched(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest runs and incidents of the server."""
    return [*runs(context, incomplete), *incidents(context, incomplete)]


def _offered(found: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    return [(name, " ".join(about.split())) for name, about in sorted(found) if name.startswith(incomplete)]


def _site(context: typer.Context) -> Site | None:
    import structlog

    from uici.catalogue.diagnostics import CatalogueError
    from uici.catalogue.executors import discover_executors
    from uici.catalogue.loading import load_site
    from uici.catalogue.locations import config_directory

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    config = context.params.get("config")
    try:
        return load_site(config_directory(Path(config) if config else None), executors=discover_executors())
    except (CatalogueError, OSError):
        return None


def _ids(context: typer.Context, collection: str) -> list[tuple[str, str]]:
    import httpx

    from uici.cli.context import DEFAULT_SERVER, Options

    given = context.find_root().params
    named = os.environ.get("UICI_URL") or DEFAULT_SERVER
    options = Options(
        # While completing, options that were not given have their defaults, whatever the environment says.
        server=given["server"] if given.get("server") not in (None, DEFAULT_SERVER) else named,
        token=given.get("token") or os.environ.get("UICI_TOKEN"),
        token_file=given.get("token_file"),
    )
    try:
        token = options.given_token()
        if not token:
            return []
        answer = httpx.get(
            f"{options.server.rstrip('/')}/api/v1/{collection}",
            params={"limit": _MOST},
            headers={"Authorization": f"Bearer {token}"},
            timeout=_ANSWER_SECONDS,
            trust_env=False,
        )
        return [(str(each["id"]), _about(each)) for each in answer.json()[collection]] if answer.is_success else []
    except (Problem, httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return []


def _about(found: dict[str, object]) -> str:
    """Own words only: what an alert says is not for a shell."""
    return " ".join(str(found[name]) for name in ("state", "outcome", "environment", "target") if found.get(name))
