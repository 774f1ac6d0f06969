"""What the platform itself says of a call, as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from uici.model.base import JsonObject, JsonValue


class Line(NamedTuple):
    """A line that may hold foreign text, and Rich's style for it."""

    text: str
    style: str = ""


_STYLES = {"accepted": "green", "refused": "red", "unknown": "yellow"}


def lines_of(call: JsonObject) -> Iterator[Line]:
    """What the platform answers, and what would change in which of its objects; nothing where none was asked."""
    rehearsal = call.get("rehearsal")
    if not rehearsal:
        return
    answer = str(rehearsal.get("answer"))
    told = ": ".join(str(rehearsal[name]) for name in ("answer", "code", "reason") if rehearsal.get(name))
    yield Line(f"  platform: {told}", _STYLES.get(answer, ""))
    changes = rehearsal.get("changes") or []
    if answer == "accepted" and not changes:
        yield Line("  it says that nothing would change", "dim")
    shown = None
    for change in changes:
        if change.get("object") != shown:
            shown = change.get("object")
            yield Line(f"  {shown}", "bold")
        field = change.get("field") or "the object"
        if change.get("now") is not None:
            yield Line(f"- {field}: {_value(change['now'])}", "red")
        if change.get("after") is not None:
            yield Line(f"+ {field}: {_value(change['after'])}", "green")
    for warning in rehearsal.get("warnings") or ():
        yield Line(f"! {warning}", "yellow")


def _value(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
