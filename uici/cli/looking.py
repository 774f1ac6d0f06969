"""Commands that only look: incidents, runs, targets, environments."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from uici.cli import completing
from uici.cli.context import Options, options_of, segment
from uici.cli.watching import Watch, follow, follow_all
from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind, did_you_mean

StateFilter = Annotated[str | None, typer.Option("--state", help="Only those in this state.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")]
Before = Annotated[str | None, typer.Option("--before", metavar="ID", help="Only those older than this one.")]


@dataclass(frozen=True)
class _Collection:
    """A collection of the server that people page through: its name is its path and the answer's key."""

    name: str
    kind: str
    """What an event says it is about: the member of the event that holds the id."""
    states: tuple[str, ...]
    columns: tuple[str, ...]
    row: Callable[[JsonObject], JsonObject]


def _with_result(run: JsonObject) -> JsonObject:
    """A run with what came of it, or what it waits for, as its outcome."""
    # A run that a person started belongs to no incident, so it has a verdict and no outcome.
    result: JsonValue = run.get("outcome") or run.get("verdict")
    if not result and run.get("waiting_for"):
        result = f"waits: {run['waiting_for']}"
    return run | {"outcome": result}


INCIDENTS = _Collection(
    name="incidents",
    kind="incident",
    states=("open", "closed"),
    columns=("id", "opened_at", "environment", "target", "state", "outcome", "severity", "title", "run"),
    row=lambda incident: incident,
)
RUNS = _Collection(
    name="runs",
    kind="run",
    states=("active", "waiting", "ended"),
    columns=("id", "created_at", "environment", "target", "origin", "state", "outcome", "reason"),
    row=_with_result,
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (incidents, runs, targets, environments, workers):
        app.command()(command)


def incidents(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[ID | bundle ID]", autocompletion=completing.incidents)
    ] = None,
    state: StateFilter = None,
    limit: Limit = 50,
    before: Before = None,
    watch: Watch = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.zip", help="Where a bundle goes; default: here, by its id.")
    ] = None,
) -> None:
    """List incidents, or show one with its alerts, findings, runs and timeline.

    `bundle ID` fetches everything known of one as a zip file, to attach it to a ticket.
    """
    match words or []:
        case ["bundle", id_]:
            _bundle(options_of(context), id_, out)
        case [] | [_] as given if given != ["bundle"]:
            _pages(options_of(context), INCIDENTS, next(iter(given), None), state, limit, before, watch)
        case _:
            raise Problem(
                ProblemKind.INVALID, "wrong_arguments", "that is neither an incident nor a bundle of one",
                where="[ID | bundle ID]",
                allowed=("uici incidents", "uici incidents ID", "uici incidents bundle ID --out FILE.zip"),
            )  # fmt: skip


def runs(
    context: typer.Context,
    id_: Annotated[str | None, typer.Argument(metavar="[ID]", autocompletion=completing.runs)] = None,
    state: StateFilter = None,
    limit: Limit = 50,
    before: Before = None,
    watch: Watch = False,
) -> None:
    """List runs, or show one with its plan, approvals and calls."""
    _pages(options_of(context), RUNS, id_, state, limit, before, watch)


def _pages(
    options: Options,
    collection: _Collection,
    id_: str | None,
    state: str | None,
    limit: int,
    before: str | None,
    watch: bool,
) -> None:
    """List a collection, or show or follow one of its members."""
    from uici.cli.rendering import show_details, show_list

    client = options.client()
    if watch:
        if id_ is not None:
            client.get(f"/{collection.name}/{segment(id_)}")  # so that an id of the other kind is refused
            follow(options, client, id_)
        follow_all(options, client, tail=0, about=collection.kind)
    if id_ is not None:
        options.show(client.get(f"/{collection.name}/{segment(id_)}"), show_details)
        return
    _known_state(state, collection.states)
    page = client.get(f"/{collection.name}", state=state, limit=limit, before=before)
    rows = [collection.row(each) for each in page[collection.name]]
    nothing = f"there are no {collection.name}"
    options.show(page, lambda out, _: show_list(out, rows, collection.columns, nothing))


def _bundle(options: Options, id_: str, out: Path | None) -> None:
    """Fetch a bundle; a file is there whole or not at all, and none is overwritten."""
    path = out if out is not None else Path(f"uici-{re.sub(r'[^A-Za-z0-9._-]+', '_', id_)}.zip")
    part = path.with_name(f"{path.name}.part")
    if path.exists():
        raise Problem(
            ProblemKind.CONFLICT, "file_exists", f"{path} is there already", where="--out",
            hint="remove it, or give another file",
        )  # fmt: skip
    try:
        with part.open("xb") as file:  # never through a link that somebody left there
            options.client().download(f"/incidents/{segment(id_)}/bundle", file)
        part.rename(path)
    except OSError as error:
        raise Problem(
            ProblemKind.INVALID, "cannot_write", f"{path}: {error.strerror or error}", where="--out"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    size = path.stat().st_size
    options.show({"file": str(path), "bytes": size}, lambda shown, _: shown.print(f"{path} ({size} bytes)"))


def targets(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", autocompletion=completing.targets)] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Look how each of them stands now, in all environments.")
    ] = False,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="With --all: only in this one.")
    ] = None,
) -> None:
    """List the managed services, or look how they stand now.

    An environment that does not answer costs only its own services their answer.
    """
    options = options_of(context)
    if name is not None and (everywhere or environment):
        raise Problem(
            ProblemKind.INVALID, "wrong_arguments", "one target is looked at in all its environments anyway",
            where="--all", allowed=("uici targets", "uici targets NAME", "uici targets --all [--environment E]"),
        )  # fmt: skip
    if environment is not None and not everywhere:
        raise Problem(
            ProblemKind.INVALID, "wrong_arguments", "only --all looks at environments", where="--environment",
            allowed=("uici targets", "uici targets NAME", "uici targets --all [--environment E]"),
        )  # fmt: skip
    if name is not None:
        _fleet(options, options.client().get(f"/targets/{segment(name)}"), "environments")
    elif everywhere:
        _fleet(options, options.client().get("/fleet", environment=environment), "services")
    else:
        _targets(options)


def _fleet(options: Options, document: JsonObject, key: str) -> None:
    """Show services as they stand, and which environments did not answer."""
    from uici.cli.rendering import show_list

    def row(service: JsonObject) -> JsonObject:
        counted = "" if service["desired"] is None else f"{service['running']}/{service['desired']}"
        return service | {"instances": counted}

    columns = ("target", "environment", "platform", "state", "instances", "version", "health", "incident", "detail")
    rows = [row(service) for service in document[key]]
    options.show(document, lambda out, _: show_list(out, rows, columns, "there are no targets"))


def _targets(options: Options) -> None:
    def row(target: JsonObject) -> JsonObject:
        return target | {"autonomy": ", ".join(f"{where}: {how}" for where, how in target["autonomy"].items())}

    columns = ("name", "environments", "group", "aliases", "autonomy", "summary")
    _listing(options, "targets", columns, row)


def environments(context: typer.Context) -> None:
    """List the environments, which is the default and why, and whether their platforms answer."""
    columns = ("name", "platform", "default", "default_because", "reachable", "detail", "summary")
    _listing(options_of(context), "environments", columns)


def workers(context: typer.Context) -> None:
    """List the processes that share the state, and the runs that each holds now."""
    columns = ("id", "version", "started_at", "seen_at", "draining", "runs")
    _listing(options_of(context), "workers", columns, _with_run_ids)


def _with_run_ids(worker: JsonObject) -> JsonObject:
    return worker | {"runs": [run["id"] for run in worker["runs"]]}


def _listing(
    options: Options,
    name: str,
    columns: tuple[str, ...],
    row: Callable[[JsonObject], JsonObject] = lambda each: each,
) -> None:
    from uici.cli.rendering import show_list

    page = options.client().get(f"/{name}")
    rows = [row(each) for each in page[name]]
    options.show(page, lambda out, _: show_list(out, rows, columns, f"there are no {name}"))


def _known_state(state: str | None, known: tuple[str, ...]) -> None:
    if state is not None and state not in known:
        raise Problem(
            ProblemKind.INVALID, "unknown_state", f"{state!r} is no state{did_you_mean(state, known)}", where="--state",
            allowed=known,
        )  # fmt: skip
