"""Commands that ask the server: what is wrong, what is done, and what people decide."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from uici.cli.client import Client, segment
from uici.cli.context import EnvironmentOption, Exit, Options, OutputFormat, options_of
from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind, did_you_mean

_INCIDENT_COLUMNS = ("id", "opened_at", "environment", "target", "state", "outcome", "severity", "title", "run")
_RUN_COLUMNS = ("id", "created_at", "environment", "target", "origin", "state", "outcome", "reason")
_INCIDENT_STATES = ("open", "closed")
_RUN_STATES = ("active", "waiting", "ended")

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
StateFilter = Annotated[str | None, typer.Option("--state", help="Only those in this state.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")]
Before = Annotated[str | None, typer.Option("--before", metavar="ID", help="Only those older than this one.")]
Cid = Annotated[str, typer.Option("--cid", help="The plan that you looked at; see `uici runs RUN`.")]
Comment = Annotated[str, typer.Option("--comment", help="Recorded with your name.")]
Reason = Annotated[str, typer.Option("--reason", help="Recorded with your name.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for name, command in (
        ("incidents", incidents),
        ("runs", runs),
        ("watch", watch),
        ("run", run),
        ("approve", approve),
        ("reject", reject),
        ("cancel", cancel),
        ("freeze", freeze),
        ("unfreeze", unfreeze),
        ("operations", operations),
        ("targets", targets),
        ("environments", environments),
    ):
        app.command(name)(command)


def incidents(
    context: typer.Context,
    id_: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    state: StateFilter = None,
    limit: Limit = 50,
    before: Before = None,
) -> None:
    """List incidents, or show one with its alerts, findings, runs and timeline."""
    from uici.cli.rendering import show_details, show_list

    options = options_of(context)
    if id_ is not None:
        options.show(options.client().get(f"/incidents/{segment(id_)}"), show_details)
        return
    _known_state(state, _INCIDENT_STATES)
    page = options.client().get("/incidents", state=state, limit=limit, before=before)
    options.show(page, lambda out, _: show_list(out, page["incidents"], _INCIDENT_COLUMNS, "there are no incidents"))


def runs(
    context: typer.Context,
    id_: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    state: StateFilter = None,
    limit: Limit = 50,
    before: Before = None,
) -> None:
    """List runs, or show one with its plan, approvals and calls."""
    from uici.cli.rendering import show_details, show_list

    options = options_of(context)
    if id_ is not None:
        options.show(options.client().get(f"/runs/{segment(id_)}"), show_details)
        return
    _known_state(state, _RUN_STATES)
    page = options.client().get("/runs", state=state, limit=limit, before=before)
    rows = [run_ | {"outcome": _result(run_)} for run_ in page["runs"]]
    options.show(page, lambda out, _: show_list(out, rows, _RUN_COLUMNS, "there are no runs"))


def watch(context: typer.Context, run_id: RunId) -> None:
    """Follow a run until it ends. Exits 0 when it worked, 1 when it did not."""
    options = options_of(context)
    _follow(options, options.client(), run_id)


def run(
    context: typer.Context,
    operation: Annotated[str, typer.Argument(metavar="OPERATION")],
    target: Annotated[str, typer.Argument(metavar="TARGET")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="Typed by the operation; KEY:=JSON for raw JSON."),
    ] = None,
    environment: EnvironmentOption = None,
    reason: Reason = "",
    watch_: Annotated[bool, typer.Option("--watch", "-w", help="Follow it; exits 1 when it did not work.")] = False,
) -> None:
    """Run one operation on one target, through the same guards as any other plan."""
    from uici.cli.rendering import show_details

    options = options_of(context)
    client = options.client()
    parameters = _parameters(client, operation, parameter or [])
    plan: JsonObject = {"steps": [{"operation": operation, "target": target, "parameters": parameters}]}
    if environment is not None:
        plan["environment"] = environment
    try:
        started = client.post("/runs", {"plan": plan} | ({"reason": reason} if reason else {}))
    except Problem as problem:
        raise _of_the_command(problem) from None
    if watch_:
        options.say(f"run {started['id']}")
        _follow(options, client, str(started["id"]))
    else:
        options.show(started, show_details)
        options.say(f"follow it: uici watch {started['id']}")


def approve(context: typer.Context, run_id: RunId, cid: Cid, comment: Comment = "") -> None:
    """Allow the plan that a run waits with."""
    _decide(options_of(context), run_id, "approve", {"cid": cid, "comment": comment})


def reject(context: typer.Context, run_id: RunId, cid: Cid, comment: Comment = "") -> None:
    """Refuse the plan that a run waits with."""
    _decide(options_of(context), run_id, "reject", {"cid": cid, "comment": comment})


def cancel(context: typer.Context, run_id: RunId, reason: Reason = "") -> None:
    """Ask a run to stop between two steps."""
    _decide(options_of(context), run_id, "cancel", {"reason": reason})


def freeze(context: typer.Context, reason: Reason = "") -> None:
    """Stop everything new, at once, everywhere."""
    _freeze(options_of(context), True, reason)


def unfreeze(context: typer.Context, reason: Reason = "") -> None:
    """Allow new runs again."""
    _freeze(options_of(context), False, reason)


def operations(context: typer.Context, name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None) -> None:
    """List operations, or show one with its parameters."""
    from uici.cli.rendering import show_details

    options = options_of(context)
    if name is not None:
        options.show(options.client().get(f"/operations/{segment(name)}"), show_details)
    else:
        _listing(options, "operations", ("name", "risk", "mutates", "reversible", "platforms", "summary"))


def targets(context: typer.Context) -> None:
    """List the managed services."""
    from uici.cli.rendering import show_list

    options = options_of(context)
    page = options.client().get("/targets")
    rows = [
        target | {"autonomy": ", ".join(f"{where}: {how}" for where, how in target["autonomy"].items())}
        for target in page["targets"]
    ]
    columns = ("name", "environments", "group", "aliases", "autonomy", "summary")
    options.show(page, lambda out, _: show_list(out, rows, columns, "there are no targets"))


def environments(context: typer.Context) -> None:
    """List the environments, which is the default and why, and whether their platforms answer."""
    columns = ("name", "platform", "default", "default_because", "reachable", "detail", "summary")
    _listing(options_of(context), "environments", columns)


def _listing(options: Options, name: str, columns: tuple[str, ...]) -> None:
    from uici.cli.rendering import show_list

    page = options.client().get(f"/{name}")
    options.show(page, lambda out, _: show_list(out, page[name], columns, f"there are no {name}"))


def _decide(options: Options, run_id: str, verb: str, body: JsonObject) -> None:
    from uici.cli.rendering import show_details

    options.show(options.client().post(f"/runs/{segment(run_id)}:{verb}", body), show_details)


def _freeze(options: Options, frozen: bool, reason: str) -> None:
    from uici.cli.rendering import show_details

    options.show(options.client().post("/freeze", {"frozen": frozen, "reason": reason}), show_details)


def _follow(options: Options, client: Client, run_id: str) -> None:
    if options.output is OutputFormat.JSON:
        # One document per line, so that a program can read along.
        for event in client.follow(run_id):
            typer.echo(json.dumps(event, ensure_ascii=False))
        ended = client.get(f"/runs/{segment(run_id)}")
    else:
        ended = _timeline(client, run_id)
    # A run that a person started belongs to no incident, so it has a verdict and no outcome.
    outcome = ended.get("outcome")
    healed = outcome in ("healed", "self_resolved") or (not outcome and ended.get("verdict") == "effective")
    raise typer.Exit(Exit.OK if healed else Exit.NO)


def _timeline(client: Client, run_id: str) -> JsonObject:
    from rich.text import Text

    from uici.cli.rendering import cell, console, event_line, moment_of

    out = console()
    began = None
    status = out.status(Text(f"following {run_id}"))
    if out.is_terminal:
        status.start()
    try:
        for event in client.follow(run_id):
            began = began or moment_of(event)
            out.print(event_line(event, began))
            if str(event.get("type", "")).endswith("approval_requested"):
                cid = (event.get("data") or {}).get("cid")
                out.print(Text(f"  look at it: uici runs {run_id}"), soft_wrap=True)
                out.print(Text(f"  decide: uici approve {run_id} --cid {cid}   (or: uici reject)"), soft_wrap=True)
    finally:
        status.stop()
    ended = client.get(f"/runs/{segment(run_id)}")
    summary = Text(f"{run_id} ended: ").append_text(cell(ended.get("outcome") or ended.get("verdict")))
    out.print(summary.append_text(Text(" - ").append_text(cell(ended["reason"])) if ended.get("reason") else Text()))
    return ended


def _known_state(state: str | None, known: tuple[str, ...]) -> None:
    if state is not None and state not in known:
        raise Problem(
            ProblemKind.INVALID, "unknown_state", f"{state!r} is no state{did_you_mean(state, known)}", where="--state",
            allowed=known,
        )  # fmt: skip


def _result(run_: JsonObject) -> JsonValue:
    """What came of a run, or what it waits for."""
    # A run that a person started belongs to no incident, so it has a verdict and no outcome.
    result: JsonValue = run_.get("outcome") or run_.get("verdict")
    if not result and run_.get("waiting_for"):
        return f"waits: {run_['waiting_for']}"
    return result


def _of_the_command(problem: Problem) -> Problem:
    """What is wrong with the plan that `uici run` made, in the words of its arguments."""
    where, hint = {
        "/environment": ("--environment", "`uici environments` lists them"),
        "/steps/0/target": ("TARGET", "`uici targets` lists them with their environments; --environment chooses one"),
    }.get(problem.where, ("", ""))
    if problem.where.startswith("/steps/0/parameters/"):
        where = f"-p {problem.where.removeprefix('/steps/0/parameters/')}"
        hint = "`uici operations OPERATION` shows the parameters"
    if not where:
        return problem
    return Problem(
        problem.kind, problem.code, problem.detail.removeprefix(f"{problem.where}: "),
        where=where, allowed=problem.allowed, hint=hint, errors=problem.errors,
    )  # fmt: skip


def _parameters(client: Client, operation: str, given: list[str]) -> JsonObject:
    try:
        known: JsonObject = client.get(f"/operations/{segment(operation)}").get("parameters") or {}
    except Problem as problem:
        if problem.kind is not ProblemKind.NOT_FOUND:
            raise
        raise Problem(
            ProblemKind.UNPROCESSABLE, problem.code, problem.detail, where="OPERATION",
            hint="`uici operations` lists them",
        ) from None  # fmt: skip
    parameters: JsonObject = {}
    for text in given:
        key, equals, value = text.partition("=")
        raw = key.endswith(":")
        key = key.removesuffix(":")
        if not equals or not key:
            raise _wrong(text, "is not KEY=VALUE")
        if key in parameters:
            raise _wrong(text, f"gives {key} a second time")
        if key not in known:
            takes = ", ".join(known) or "none"
            raise _wrong(text, f"{operation} has no parameter {key!r}{did_you_mean(key, known)}; it takes: {takes}")
        parameters[key] = _json(text, value) if raw else _typed(text, value, known[key])
    return parameters


def _typed(text: str, value: str, schema: JsonValue) -> JsonValue:
    """`value` as the parameter's schema wants it; a text stays what was typed."""
    wanted = schema.get("type") if isinstance(schema, dict) else None
    types = set(wanted) if isinstance(wanted, list) else {wanted}
    if "string" in types or types == {None}:
        return value
    return _json(text, value)


def _json(text: str, value: str) -> JsonValue:
    try:
        return json.loads(value)
    except ValueError:
        raise _wrong(text, "needs a JSON value here: a number, true, false, a list or an object") from None


def _wrong(text: str, why: str) -> Problem:
    return Problem(ProblemKind.INVALID, "invalid_parameter", f"-p {text}: {why}", where="-p")
