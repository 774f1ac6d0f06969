"""`uici preview`: what would be done, by the server or, without one, by the configuration alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from uici.cli.context import ConfigOption, EnvironmentOption, log_to_stderr, options_of
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind

_MOST_BYTES = 33_554_432


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("preview")(preview)


def preview(
    context: typer.Context,
    payload: Annotated[
        Path | None, typer.Argument(metavar="[PAYLOAD.json]", help="An Alertmanager notification; - reads stdin.")
    ] = None,
    environment: EnvironmentOption = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="A plan as a JSON file; - reads stdin.")] = None,
    incident: Annotated[str | None, typer.Option("--incident", metavar="ID", help="An incident of the server.")] = None,
    config: ConfigOption = None,
) -> None:
    """Show exactly what would be done, and do nothing.

    With a token the server is asked. Without one the preview is made here from the configuration.
    """
    from uici.cli.rendering import show_preview

    if sum(each is not None for each in (payload, plan, incident)) != 1:
        raise Problem(
            ProblemKind.INVALID,
            "one_source",
            "give exactly one of PAYLOAD.json, --plan FILE, --incident ID",
            where="arguments",
        )
    options = options_of(context)
    document: JsonObject
    if payload is not None:
        document = _read(payload, "PAYLOAD.json")
        if "alerts" not in document:
            raise Problem(
                ProblemKind.UNPROCESSABLE, "not_a_notification", f"{payload} has no `alerts`", where=str(payload),
                hint="give a body that Alertmanager sends; a plan goes by --plan",
            )  # fmt: skip
    elif plan is not None:
        document = {"plan": _read(plan, "--plan")}
    else:
        document = {"incident": incident}
    if options.given_token():
        shown = options.client().post("/plans:preview", document, environment=environment)
    else:
        from uici import bootstrap

        log_to_stderr()
        shown = bootstrap.offline_preview(config, document, environment)
    options.show(shown, show_preview)


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
