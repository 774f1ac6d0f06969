"""Drawing events as a timeline that a person can read along: when, which stage, what, how long it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from uici.cli.rendering import cell, moment, style_of
from uici.model.base import JsonObject, JsonValue
from uici.model.terminals import printable

_SHORT_CID = len("sha256:") + 12
_STAGE_WIDTH = 13
_WHAT_WIDTH = 20
_LEAST_WIDTH = 40
"""Characters: with less room for an event's details they do not get a column of their own."""

_STAGES: Mapping[str, str] = MappingProxyType(
    {
        "incident_opened": "alert", "alert_joined": "alert", "alert_resolved": "alert", "run_requested": "request",
        "incident_refused": "targeting", "target_found": "targeting", "incident_merged": "targeting",
        "held": "waiting", "diagnosed": "diagnosis", "remedy_chosen": "planning", "planned": "planning",
        "council_answered": "planning", "council_silent": "planning", "verb_drafted": "planning",
        "fallback_taken": "planning",
        "verb_not_drafted": "planning",
        "guarded": "guards",
        "approval_requested": "approval", "approved": "approval", "rejected": "approval",
        "approval_expired": "approval", "slot_taken": "lock", "call_sent": "execution", "call_done": "execution",
        "call_failed": "execution", "call_unknown": "execution", "step_done": "execution", "step_failed": "execution",
        "after_state_unknown": "execution", "verified": "verification", "undone": "undo", "undo_skipped": "undo",
        "cancel_requested": "cancelling", "run_ended": "end", "frozen": "brake", "unfrozen": "brake",
        "feedback_given": "learning", "vetoed": "learning", "veto_lifted": "learning",
        "body_refused": "intake", "notification_truncated": "intake",
    }
)  # fmt: skip
_BEGINNING_OF: Mapping[str, str] = MappingProxyType(
    {
        "call_done": "call_sent", "call_failed": "call_sent", "call_unknown": "call_sent", "approved":
        "approval_requested", "rejected": "approval_requested", "approval_expired": "approval_requested",
        "verified": "step_done", "run_ended": "",
    }
)  # fmt: skip
"""What an event is the end of; the empty text is the first event of the same run. Their distance is shown."""


class Timeline:
    """Turns events, given in order, into lines. `everything` names for each event what it is about."""

    def __init__(self, *, everything: bool = False) -> None:
        self._everything = everything
        self._began: datetime | None = None
        self._beginnings: dict[tuple[str, str], datetime] = {}

    def show(self, out: Console, event: JsonObject) -> None:
        """Print the event."""
        (head, details), *more = self._parts(event)
        if out.is_terminal and out.width - len(head) >= _LEAST_WIDTH:
            row = Table.grid()
            row.add_column(no_wrap=True)
            row.add_column(overflow="fold")
            row.add_row(head, details)
            out.print(row)
        elif out.is_terminal:
            out.print(head)
            out.print(Padding(details, (0, 0, 0, 4)))
        else:
            # A file or a pipe gets one line for each event, however long.
            out.print(head + details, soft_wrap=True)
        for line, _ in more:
            out.print(line, soft_wrap=True)  # in one piece, since it is to be copied

    def lines(self, event: JsonObject) -> Iterator[Text]:
        """The event's line, and for a question to people how to answer it."""
        return (head + details for head, details in self._parts(event))

    def _parts(self, event: JsonObject) -> Iterator[tuple[Text, Text]]:
        kind = printable(str(event.get("type", ""))).removeprefix("uici.")
        at = moment(str(event.get("time") or event.get("at") or ""))
        yield self._head(event, kind, at), self._details(event, kind, at)
        run, cid = event.get("run"), _data(event).get("cid")
        if kind == "approval_requested" and run and cid:
            for text in (
                f"  look at it: uici runs {run}",
                f"  decide: uici approve {run} --cid {cid}",
                f"      or: uici reject {run} --cid {cid}",
            ):
                yield Text(printable(text)), Text()

    def _head(self, event: JsonObject, kind: str, at: datetime | None) -> Text:
        line = Text()
        line.append(at.astimezone().strftime("%H:%M:%S.%f")[:-3] if at else "-", style="dim")
        if self._everything:
            place = "/".join(str(event[name]) for name in ("environment", "target") if event.get(name))
            subject = event.get("run") or event.get("incident") or ""
            line.append(f"  {printable(place) or '-'}".ljust(20), style="cyan")
            line.append(f"  {printable(str(subject)) or '-'}".ljust(28), style="dim")
        elif at is not None:
            self._began = self._began or at
            line.append(f"  +{seconds((at - self._began).total_seconds())}".ljust(11), style="dim")
        line.append("  " + _STAGES.get(kind, "").ljust(_STAGE_WIDTH))
        said = [value for value in _data(event).values() if isinstance(value, str)]
        return line.append(kind.replace("_", " ").ljust(_WHAT_WIDTH), style=style_of(said) or "bold")

    def _details(self, event: JsonObject, kind: str, at: datetime | None) -> Text:
        line = Text(overflow="fold")
        for name, value in _data(event).items():
            if value not in (None, "", [], {}) and (name, value) not in _USUAL:
                line.append(f" {printable(str(name))}=", style="dim").append_text(_said(name, value, kind))
        took = self._took(str(event.get("run") or ""), kind, at)
        if took is not None:
            line.append(f"  took {seconds(took)}", style="dim")
        return line

    def _took(self, run: str, kind: str, at: datetime | None) -> float | None:
        if at is None or not run:
            return None
        self._beginnings.setdefault((run, ""), at)
        self._beginnings[run, kind] = at
        began = self._beginnings.get((run, _BEGINNING_OF[kind])) if kind in _BEGINNING_OF else None
        return None if began is None or began == at else (at - began).total_seconds()


_USUAL = (("position", 1), ("attempt", 0), ("undo", False), ("outcome", "done"), ("fingerprint", ""))
"""Data that say nothing: a first attempt, no undo, a call that was done."""


def _data(event: JsonObject) -> JsonObject:
    data = event.get("data")
    return data if isinstance(data, dict) else {}


def seconds(amount: float) -> str:
    """A duration as people say it: 0.042s, 4.2s, 3m07s, 2h05m."""
    if amount < 1:
        return f"{amount:.3f}s"
    whole = round(amount)
    if whole < 60:
        return f"{amount:.1f}s"
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02}m"


def _said(name: str, value: JsonValue, kind: str) -> Text:
    """One datum of an event. A plan's hash is whole only where somebody has to copy it."""
    if name == "cid" and isinstance(value, str) and kind != "approval_requested":
        return Text(printable(value[:_SHORT_CID] + "…" if len(value) > _SHORT_CID else value))
    if name == "decisions" and isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return Text(printable("; ".join(f"{each.get('guard')}: {each.get('reason')}" for each in value)))
    if name == "propensity" and isinstance(value, float):
        return Text(f"{value:.0%}")
    if name == "masked" and isinstance(value, list):
        return Text(printable("; ".join(f"{each['name']}: {each['why']}" for each in value)))
    if name == "candidates" and isinstance(value, list):
        return Text(printable(", ".join(_offered(each) for each in value)))
    return cell(value)


def _offered(candidate: JsonObject) -> str:
    drawn = f", drew {candidate['value']:.2f}" if candidate.get("value") is not None else ""
    return f"{candidate['name']} (helps {candidate['mean']:.0%}{drawn}, first {candidate['probability']:.0%})"
