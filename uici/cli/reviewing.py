"""Previews as a reviewer reads them: diffs against the present state or an earlier preview, tables, summaries."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from uici.cli import rehearsals
from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class Outcome(StrEnum):
    """What a preview ends in, as `--expect` takes it."""

    RUN = "would-run"
    APPROVAL = "would-wait-for-approval"
    TURN = "would-wait-for-its-turn"
    RECORDED = "would-be-recorded-not-run"
    SILENCE = "would-wait-for-the-alert-s-silence"
    COUNCIL = "would-ask-the-council"
    DENIED = "would-be-refused"
    PLATFORM = "would-be-refused-by-the-platform"
    REFUSED = "refused"
    ESCALATED = "escalated"
    SELF_RESOLVED = "self-resolved"
    IGNORED = "ignored-by-rule"


_MEANING = re.compile(r"[^A-Za-z0-9 ,;\u00a0-\U0010ffff]")
_CHANGING = frozenset({Outcome.RUN, Outcome.APPROVAL, Outcome.TURN})
_COLUMNS = ("alerts", "target", "strategy", "remedy", "outcome", "answer")
_COMPARED = ("alerts", "environment", "target", "strategy", "remedy", "risk", "answer", "outcome")


def outcome_of(preview: JsonObject) -> str:
    """The outcome's name for programs."""
    return re.sub(r"[^a-z]+", "-", str(preview.get("outcome", ""))).strip("-")


def would_change(preview: JsonObject) -> bool:
    """Whether something on a target would be changed, sooner or later."""
    mutates = any(call.get("mutates") for step in preview.get("steps") or () for call in step.get("calls") or ())
    return mutates and outcome_of(preview) in _CHANGING


def refused_by_platform(preview: JsonObject) -> bool:
    """Whether the guards let it pass, and the platform would not."""
    return outcome_of(preview) == Outcome.PLATFORM


def previews_of(answer: JsonObject) -> list[JsonObject]:
    """All previews of an answer, of one file or of several."""
    if "files" in answer:
        return [each for file in answer["files"] for each in file.get("previews", ())]
    return list(answer.get("previews") or ())


def stored(document: JsonObject, path: Path) -> list[JsonObject]:
    """The previews of an answer that was stored. Raises Problem for what is none."""
    found = previews_of(document) if "files" in document or "previews" in document else None
    if found is None or not all(isinstance(each, dict) for each in found):
        raise Problem(
            ProblemKind.INVALID, "not_a_preview", f"{path} is no answer of `uici preview -o json`", where="--against"
        )
    return found


# --- now against after ----------------------------------------------------------------------------------------


def show_changes(out: Console, answer: JsonObject) -> None:
    """For each step what would change on its target, as a unified diff."""
    from rich.text import Text

    from uici.model.terminals import printable

    counted: Counter[str] = Counter()
    for preview in previews_of(answer):
        place = "/".join(str(preview.get(name) or "-") for name in ("environment", "target"))
        out.print(Text(printable(f"{place}: {preview.get('outcome')}"), style="bold"), soft_wrap=True)
        for number, step in enumerate(preview.get("steps") or (), 1):
            for line in _diff_of_step(number, step, counted):
                out.print(line, soft_wrap=True)
        if not preview.get("steps"):
            out.print(Text("  no step: nothing would be sent"))
        out.print()
    told = ", ".join(f"{counted[effect]} {effect}" for effect in ("changed", "unknown", "unchanged"))
    out.print(Text(f"fields: {told}"))


def _diff_of_step(number: int, step: JsonObject, counted: Counter[str]) -> Iterator[Text]:
    from rich.text import Text

    from uici.model.terminals import printable

    name = f"{step.get('operation')} on {step.get('target')}"
    changes = step.get("changes")
    if changes is None:
        yield Text(printable(f"  step {number}: {name} only reads"), style="dim")
        return
    yield Text(printable(f"--- {name}: now"))
    yield Text(printable(f"+++ {name}: after step {number}"))
    for change in changes:
        effect, field = str(change.get("effect")), change.get("field")
        counted[effect] += 1
        if effect == "unchanged":
            yield Text(printable(f"  {field}: {_value(change.get('now'))}"), style="dim")
            continue
        yield Text(printable(f"- {field}: {_value(change.get('now'))}"), style="red")
        if effect == "unknown":
            after = f"{_value(change['after'])}, " if change.get("after") is not None else ""
            yield Text(printable(f"? {field}: {after}unknown: {change.get('why')}"), style="yellow")
        else:
            yield Text(printable(f"+ {field}: {_value(change.get('after'))}"), style="green")
    for call in step.get("calls") or ():
        said = list(rehearsals.lines_of(call))
        if said:
            yield Text(printable(f"  call {call.get('id')}: {call.get('name')}"), style="bold")
        yield from (Text(printable(line.text), style=line.style) for line in said)


def _value(value: JsonValue) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


# --- against an earlier preview -------------------------------------------------------------------------------


def differences(earlier: Sequence[JsonObject], later: Sequence[JsonObject]) -> list[JsonObject]:
    """What differs in what would be done, one entry for each target (or alert without one) that differs."""
    before, after = _by_place(earlier), _by_place(later)
    found: list[JsonObject] = []
    for place in sorted(before.keys() | after.keys()):
        lines = list(unified_diff(before.get(place, []), after.get(place, []), "previous", "now", n=3, lineterm=""))
        if lines:
            found.append({"of": place, "diff": lines})
    return found


def _by_place(previews: Sequence[JsonObject]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for preview in previews:
        place = "/".join(str(preview.get(name) or "-") for name in ("environment", "target"))
        if not preview.get("target"):
            place += f" ({', '.join(map(str, preview.get('alerts') or ()))})"
        found.setdefault(place, []).extend(_lines(preview))
    return found


def _lines(preview: JsonObject) -> Iterator[str]:
    """What would be done, line by line. The state of the target now is left out: it differs from hour to hour."""
    for name in _COMPARED:
        yield f"{name}: {_value(preview.get(name))}"
    for number, step in enumerate(preview.get("steps") or (), 1):
        yield f"step {number}: {step.get('operation')}"
        for name in ("parameters", "risk", "undo"):
            yield f"  {name}: {_value(step.get(name))}"
        for call in step.get("calls") or ():
            yield f"  call {call.get('name')}:"
            arguments = json.dumps(call.get("arguments"), indent=2, ensure_ascii=False, sort_keys=True)
            yield from (f"    {line}" for line in arguments.splitlines())
    for guard in preview.get("guards") or ():
        yield f"guard {guard.get('guard')}: {guard.get('answer')}: {guard.get('reason')}"


def show_differences(out: Console, found: Sequence[JsonObject]) -> None:
    """The differences, coloured as a unified diff is."""
    from rich.text import Text

    from uici.model.terminals import printable

    if not found:
        out.print(Text("the same would be done as before"))
    for each in found:
        out.print(Text(printable(str(each["of"])), style="bold"), soft_wrap=True)
        for line in each["diff"]:
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            out.print(Text(printable(line), style=style), soft_wrap=True)
        out.print()


# --- many files -----------------------------------------------------------------------------------------------


def show_files(out: Console, answer: JsonObject) -> None:
    """A table for each file, the broken ones with what is wrong, and a line that sums up."""
    from rich.text import Text

    from uici.cli.rendering import show_list
    from uici.model.terminals import printable

    for file in answer["files"]:
        out.print(Text(printable(file["file"]), style="bold"), soft_wrap=True)
        if "problem" in file:
            text = f"  broken: {file['problem']['detail']} [{file['problem']['code']}]"
            out.print(Text(printable(text), style="red"), soft_wrap=True)
        else:
            show_list(out, _rows(file), _COLUMNS, "nothing would be done")
        out.print()
    out.print(Text(_sum(answer)))


def _rows(file: JsonObject) -> list[JsonObject]:
    return [
        preview | {"target": "/".join(str(preview[name]) for name in ("environment", "target") if preview.get(name))}
        for preview in file.get("previews") or ()
    ]


def _sum(answer: JsonObject) -> str:
    files = answer.get("files") or [answer]
    broken = sum("problem" in file for file in files)
    counted = Counter(str(preview.get("outcome")) for preview in previews_of(answer))
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counted.items())) or "nothing would be done"
    return f"{len(files)} file{'s' if len(files) != 1 else ''}, {broken} broken; {told}"


# --- markdown -------------------------------------------------------------------------------------------------


def markdown(answer: JsonObject) -> str:
    """GitHub-flavoured Markdown: https://github.github.com/gfm/. Foreign text shows as it is and means nothing."""
    lines = ["## What UICI would do", "", _escaped(_sum(answer)), ""]
    for file in answer.get("files") or [answer]:
        if "file" in file:
            lines += [f"### {_code(file['file'])}", ""]
        if "problem" in file:
            lines += [f"broken: {_code(file['problem']['detail'])}", ""]
            continue
        lines += [f"| {' | '.join(_COLUMNS)} |", "|" + " --- |" * len(_COLUMNS)]
        rows = _rows(file)
        lines += [f"| {' | '.join(_cell(row.get(name)) for name in _COLUMNS)} |" for row in rows]
        lines.append("")
        for row in rows:
            lines += _details(row)
    return "\n".join(lines)


def _details(preview: JsonObject) -> Iterator[str]:
    from uici.model.terminals import printable

    calls = [call for step in preview.get("steps") or () for call in step.get("calls") or ()]
    if not calls:
        return
    yield f"<details><summary>{_code(preview['target'])}: {len(calls)} call{'s' if len(calls) != 1 else ''}</summary>"
    yield ""
    for call in calls:
        arguments = json.dumps(call.get("arguments"), indent=2, ensure_ascii=False, sort_keys=True)
        # What stands between these marks is not Markdown, until the closing one, which no text can write.
        said = "".join("\n" + escape(printable(line.text)) for line in rehearsals.lines_of(call))
        yield f"<pre>{escape(printable(str(call.get('name'))))}\n{escape(printable(arguments))}{said}</pre>"
        yield ""
    yield "</details>"
    yield ""


def _cell(value: JsonValue) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return _code(text) if text else "-"


def _code(text: JsonValue) -> str:
    return f"<code>{_escaped(str(text))}</code>"


def _escaped(text: str) -> str:
    """Whatever could mean something to Markdown or HTML as a character reference; control characters as their code."""
    from uici.model.terminals import printable

    return _MEANING.sub(lambda found: f"&#{ord(found[0])};", printable(" ".join(text.split())))
