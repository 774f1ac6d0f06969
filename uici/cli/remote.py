"""Commands with which people act: start a run, decide about one, stop everything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli import completing
from uici.cli.context import EnvironmentOption, Options, options_of, segment
from uici.cli.watching import follow
from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind, did_you_mean

if TYPE_CHECKING:
    from uici.cli.client import Client

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", autocompletion=completing.runs)]
Cid = Annotated[str, typer.Option("--cid", help="The plan that you looked at; see `uici runs RUN`.")]
Comment = Annotated[str, typer.Option("--comment", help="Recorded with your name.")]
Reason = Annotated[str, typer.Option("--reason", help="Recorded with your name.")]


Within = Annotated[
    str | None, typer.Option("--environment", "-e", metavar="PATTERN", help="Only there; * is any text.")
]
Matching = Annotated[str | None, typer.Option("--target", metavar="PATTERN", help="Only these targets.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for name, command in (
        ("run", run),
        ("approve", approve),
        ("reject", reject),
        ("cancel", cancel),
        ("freeze", freeze),
        ("unfreeze", unfreeze),
        ("brakes", brakes),
    ):
        app.command(name)(command)


def run(
    context: typer.Context,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", autocompletion=completing.operations)],
    target: Annotated[str, typer.Argument(metavar="TARGET", autocompletion=completing.targets)],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="Typed by the operation; KEY:=JSON for raw JSON."),
    ] = None,
    environment: EnvironmentOption = None,
    reason: Reason = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it; exits 1 when it did not work.")] = False,
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
    if watch:
        options.say(f"run {started['id']}")
        follow(options, client, str(started["id"]))
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


def freeze(context: typer.Context, reason: Reason = "", environment: Within = None, target: Matching = None) -> None:
    """Stop everything new, at once: everywhere that the token reaches, or only there."""
    _freeze(options_of(context), True, reason, environment, target)


def unfreeze(context: typer.Context, reason: Reason = "", environment: Within = None, target: Matching = None) -> None:
    """Allow new runs again; what was frozen by patterns, by the same ones."""
    _freeze(options_of(context), False, reason, environment, target)


def brakes(
    context: typer.Context,
    lift: Annotated[
        str | None,
        typer.Option(
            "--lift",
            metavar="ENVIRONMENT",
            help="Let UICI act by itself there again.",
            autocompletion=completing.environments,
        ),
    ] = None,
    reason: Reason = "",
) -> None:
    """List where UICI only acts on a person's word, because much of the environment fails at once."""
    from uici.cli.rendering import show_details

    options = options_of(context)
    client = options.client()
    shown = client.post(f"/brakes/{segment(lift)}:lift", {"reason": reason}) if lift else client.get("/brakes")
    options.show(shown, show_details)


def _decide(options: Options, run_id: str, verb: str, body: JsonObject) -> None:
    from uici.cli.rendering import show_details

    options.show(options.client().post(f"/runs/{segment(run_id)}:{verb}", body), show_details)


def _freeze(options: Options, frozen: bool, reason: str, environment: str | None, target: str | None) -> None:
    from uici.cli.rendering import show_details

    patterns = {name: given for name, given in (("environment", environment), ("target", target)) if given is not None}
    options.show(options.client().post("/freeze", {"frozen": frozen, "reason": reason, **patterns}), show_details)


def _of_the_command(problem: Problem) -> Problem:
    """What is wrong with the plan that `uici run` made, in the words of its arguments."""
    where, hint = {
        "/environment": ("--environment", "`uici environments` lists them"),
        "/steps/0/target": ("TARGET", "`uici targets` lists them with their environments; --environment chooses one"),
    }.get(problem.where, ("", ""))
    if problem.where.startswith("/steps/0/parameters/"):
        where = f"-p {problem.where.removeprefix('/steps/0/parameters/')}"
        hint = "`uici operations show OPERATION` shows the parameters"
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
            hint="`uici operations list` lists them",
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
