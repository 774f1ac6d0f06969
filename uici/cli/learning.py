"""Commands of the learning: what was learned, people's words on runs, vetoes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from uici.cli.context import options_of, segment
from uici.model.base import JsonObject, JsonValue

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = (
    "strategy", "alternatives", "findings", "remedy", "prior", "good", "bad", "people", "borrowed", "helps", "90 %",
    "first", "vetoes",
)  # fmt: skip
_VETO_COLUMNS = ("id", "strategy", "remedy", "environment", "target", "actor", "at", "reason")
_POLICY_COLUMNS = ("policy", "in force", "IPS", "IPS 90 %", "SNIPS", "SNIPS 90 %", "effective size", "not in the log")

learning = typer.Typer(no_args_is_help=True, help="What UICI has learned of remedies, and vetoes.")
Strategy = Annotated[str | None, typer.Option("--strategy", help="Only this strategy.")]


class Verdict(StrEnum):
    """What a person says of a run."""

    GOOD = "good"
    BAD = "bad"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("feedback")(feedback)
    for command in (show, compare, veto, lift):
        learning.command(command.__name__)(command)
    app.add_typer(learning, name="learning")


def feedback(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    verdict: Annotated[Verdict, typer.Argument(help="Whether its last remedy was a good one.")],
    comment: Annotated[str, typer.Option("--comment", help="Recorded with your name.")] = "",
) -> None:
    """Say whether a run's remedy was a good one; saying it again replaces it."""
    from uici.cli.rendering import show_details

    options = options_of(context)
    body = {"good": verdict is Verdict.GOOD, "comment": comment}
    options.show(options.client().post(f"/runs/{segment(run_id)}/feedback", body), show_details)


def show(
    context: typer.Context,
    strategy: Strategy = None,
    findings: Annotated[
        str | None, typer.Option("--findings", metavar="A+B", help="Only this finding set, also when it is new.")
    ] = None,
) -> None:
    """What is believed of each remedy, from what; which alternative would be first; vetoes."""
    from rich.text import Text

    from uici.cli.rendering import show_list

    options = options_of(context)
    page = options.client().get("/learning", strategy=strategy, findings=findings)
    nothing = "no strategy has alternatives, and no remedy has an outcome yet"

    def draw(out: Console, _: JsonValue) -> None:
        show_list(out, [_row(each) for each in page["remedies"]], _COLUMNS, nothing)
        if page["vetoes"]:
            out.print(Text("\nvetoes", style="bold"))
            show_list(out, page["vetoes"], _VETO_COLUMNS, "")

    options.show(page, draw)


def compare(
    context: typer.Context,
    strategy: Strategy = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=2000, help="Look at so many choices, the newest.")] = 500,
) -> None:
    """How often each policy's first choice would have helped, estimated from the choices that were made here."""
    from uici.cli.rendering import show_list

    options = options_of(context)
    page = options.client().get("/learning/comparison", strategy=strategy, limit=limit)
    rows = [
        {
            "policy": each["policy"],
            "in force": each["in_force"],
            "IPS": _share(each["ips"]),
            "IPS 90 %": _interval(each["ips_interval"]),
            "SNIPS": _share(each["snips"]),
            "SNIPS 90 %": _interval(each["snips_interval"]),
            "effective size": round(each["effective_sample_size"], 1),
            "not in the log": _share(each["unsupported"]),
        }
        for each in page["policies"]
    ]
    nothing = "no choice among alternatives has an outcome yet"
    options.show(page, lambda out, _: show_list(out, rows if page["choices"] else [], _POLICY_COLUMNS, nothing))
    if page["choices"]:
        options.say(f"{page['choices']} choices, of which {_share(page['helped'])} helped")


def veto(
    context: typer.Context,
    strategy: Annotated[str, typer.Argument(metavar="STRATEGY")],
    remedy: Annotated[str, typer.Argument(metavar="REMEDY")],
    reason: Annotated[str, typer.Option("--reason", help="Recorded with your name.")],
    target: Annotated[str | None, typer.Option("--target", help="Only on this target.")] = None,
    environment: Annotated[str | None, typer.Option("--environment", "-e", help="Only in this environment.")] = None,
) -> None:
    """Forbid a remedy to all rules until somebody lifts the veto."""
    from uici.cli.rendering import show_details

    options = options_of(context)
    body: JsonObject = {"strategy": strategy, "remedy": remedy, "reason": reason}
    body |= {"target": target} if target is not None else {}
    body |= {"environment": environment} if environment is not None else {}
    vetoed = options.client().post("/learning/vetoes", body)
    options.show(vetoed, show_details)
    options.say(f"lift it: uici learning lift {vetoed['id']}")


def lift(
    context: typer.Context,
    veto_id: Annotated[str, typer.Argument(metavar="ID", help="The veto's id; see `uici learning show`.")],
    reason: Annotated[str, typer.Option("--reason", help="Recorded with your name.")] = "",
) -> None:
    """Allow a vetoed remedy again."""
    from uici.cli.rendering import show_details

    options = options_of(context)
    options.show(options.client().post(f"/learning/vetoes/{segment(veto_id)}:lift", {"reason": reason}), show_details)


def _row(line: JsonObject) -> JsonObject:
    prior = line["prior"]
    return {
        "strategy": line["strategy"],
        "alternatives": line["group"],
        "findings": line["findings"],
        "remedy": line["remedy"],
        "prior": f"{prior['good']:g}:{prior['bad']:g}",
        "good": round(line["good"], 1),
        "bad": round(line["bad"], 1),
        "people": _pair(line["human_good"], line["human_bad"]),
        "borrowed": _pair(line["borrowed_good"], line["borrowed_bad"]),
        "helps": _share(line["mean"]),
        "90 %": _interval(line["interval"]),
        "first": _share(line["probability"]),
        "vetoes": len(line["vetoes"]) or None,
    }


def _pair(good: float, bad: float) -> str | None:
    return f"{good:.1f}:{bad:.1f}" if good or bad else None


def _share(value: JsonValue) -> str | None:
    return None if value is None else f"{value:.0%}"


def _interval(bounds: JsonValue) -> str | None:
    return None if bounds is None else f"{bounds[0]:.0%}-{bounds[1]:.0%}"
