import io
import json
from typing import Any

import pytest
from rich.console import Console

from uici.cli import rendering
from uici.cli.doctor import show_check_up
from uici.cli.timeline import Timeline, seconds
from uici.model.terminals import printable

HOSTILE = "\x1b[2J\x1b]0;title\x07[red]x[/red] \u202egnp.exe\x9b31m"


def drawn(render: Any, document: Any, width: int = 120) -> str:
    out = io.StringIO()
    render(Console(file=out, width=width, highlight=False, markup=False), document)
    return out.getvalue()


PREVIEW: dict[str, Any] = {
    "environment": "local",
    "target": "web",
    "strategy": "service_down",
    "remedy": "restart",
    "cid": "sha256:" + "ab" * 32,
    "risk": "medium",
    "answer": "needs_approval",
    "plan": {},
    "steps": [
        {
            "operation": "restart_service",
            "target": "web",
            "parameters": {"grace": 5},
            "risk": "medium",
            "undo": "cannot be undone: a restart leaves nothing to restore",
            "calls": [
                {
                    "id": "restart",
                    "name": "program.restart",
                    "arguments": {"target": {"program": "web", "command": ["/bin/sleep", "1000"]}, "text": "x" * 500},
                    "mutates": True,
                    "risk": "medium",
                }
            ],
        }
    ],
    "guards": [
        {
            "guard": "risk",
            "answer": "needs_approval",
            "rule": "auto_approve_up_to",
            "value": "low",
            "reason": "too risky",
        }
    ],
    "findings": [{"name": "hanging", "summary": "It does not answer"}],
    "notes": ["a note"],
    "outcome": "would wait for approval",
}


def test_a_preview_shows_each_exact_call_whole() -> None:
    text = drawn(rendering.show_preview, {"previews": [PREVIEW]})
    shown = [
        PREVIEW["cid"],
        "program.restart",
        "changes something",
        "needs_approval",
        "auto_approve_up_to",
        "too risky",
    ]
    shown += ["cannot be undone: a restart leaves nothing to restore", "hanging", "a note", "would wait for approval"]
    assert [each for each in shown if each not in text] == []
    lines = "".join(line.removeprefix("    ") for line in text.split("risk)\n", 1)[1].split("guards")[0].splitlines())
    assert json.loads(lines) == PREVIEW["steps"][0]["calls"][0]["arguments"]


def test_several_previews_and_none() -> None:
    assert drawn(rendering.show_preview, {"previews": [PREVIEW, PREVIEW]}).count("program.restart") == 2
    assert "nothing would be done" in drawn(rendering.show_preview, {"previews": []})
    assert "nothing would be sent" in drawn(rendering.show_preview, {"previews": [PREVIEW | {"steps": []}]})


def test_foreign_text_is_shown_and_never_obeyed() -> None:
    rows = [{"id": HOSTILE, "title": HOSTILE, "nested": {"key": HOSTILE}, "list": [HOSTILE]}]
    event = {"time": "2026-01-01T00:00:00+00:00", "type": HOSTILE, "data": {HOSTILE: HOSTILE}}
    preview = json.loads(json.dumps(PREVIEW).replace("web", json.dumps(HOSTILE)[1:-1]))
    texts = [
        drawn(lambda out, _: rendering.show_list(out, rows, ("id", "title", "nested", "list"), "none"), None, 400),
        drawn(rendering.show_details, {"title": HOSTILE, "rows": rows, "timeline": [event]}, 400),
        drawn(rendering.show_preview, preview, 400),
        drawn(lambda out, _: Timeline().show(out, event), None, 400),
        drawn(lambda out, _: Timeline(everything=True).show(out, event), None, 400),
        printable(HOSTILE),
    ]
    for text in texts:
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
        assert "[red]x[/red]" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (True, "true"),
        (0, "0"),
        ([], "-"),
        (["a", "b"], "a, b"),
        ({"a": 1}, '{"a": 1}'),
        ("x" * 1000, "x" * 299 + "…"),
        ("2026-13-99T99:99:99Z", "2026-13-99T99:99:99Z"),
    ],
)
def test_cells(value: Any, shown: str) -> None:
    assert rendering.cell(value).plain == shown


def test_an_empty_list_says_so() -> None:
    assert (
        drawn(lambda out, _: rendering.show_list(out, [], ("id",), "there are no runs"), None) == "there are no runs\n"
    )


RUN = {
    "id": "run_" + "1" * 20,
    "created_at": "2026-01-01T00:00:00+00:00",
    "environment": "production",
    "target": "bookings",
    "origin": "human",
    "state": "ended",
    "outcome": "self_resolved",
    "reason": "every alert was resolved before anything was done",
}


@pytest.mark.parametrize(("width", "left_out"), [(80, ["environment", "origin", "reason"]), (120, []), (200, [])])
def test_a_list_leaves_columns_out_rather_than_breaking_words(width: int, left_out: list[str]) -> None:
    text = drawn(lambda out, _: rendering.show_list(out, [RUN], list(RUN), "none"), None, width)
    kept = [value for name, value in RUN.items() if name not in ("created_at", "reason", *left_out)]
    assert [each for each in kept if each not in text] == []
    assert ("no room for" in text) is bool(left_out)
    assert [name for name in left_out if name not in text] == []


@pytest.mark.parametrize("width", [80, 120])
def test_details_are_whole_and_readable_at_any_width(width: int) -> None:
    labels = {f"label_{number}": "x" * 30 for number in range(20)}
    wide = {f"column_{number}": f"value_{number}" for number in range(19)}
    text = drawn(rendering.show_details, {"reason": "y" * 900, "alerts": [{"labels": labels}], "runs": [wide]}, width)
    joined = "".join(text.split())
    assert "y" * 900 in joined
    assert json.dumps(labels).replace(" ", "") in joined
    lines = [line.split() for line in text.splitlines()]
    assert all(["column", str(number), f"value_{number}"] in lines for number in range(19))


def test_an_event_shortens_a_hash_that_nobody_has_to_copy() -> None:
    cid = "sha256:" + "ab" * 32
    decisions = [{"guard": "freeze", "answer": "deny", "reason": "everything is frozen"}]
    (line,) = Timeline().lines({"type": "guarded", "data": {"cid": cid, "decisions": decisions}})
    guarded = line.plain
    assert cid not in guarded
    assert cid[:19] in guarded
    assert "decisions=freeze: everything is frozen" in guarded
    _, *how = Timeline().lines({"type": "uici.approval_requested", "run": "run_1", "data": {"cid": cid}})
    assert [line.plain.strip() for line in how] == [
        "look at it: uici runs run_1",
        f"decide: uici approve run_1 --cid {cid}",
        f"or: uici reject run_1 --cid {cid}",
    ]
    (alone,) = Timeline().lines({"type": "uici.approval_requested", "run": "run_1", "data": {}})
    assert "uici approve" not in alone.plain, "without its hash no plan can be approved"
    # To be copied, so never broken, however narrow the terminal.
    asked = {"type": "approval_requested", "run": "run_1", "data": {"cid": cid}}
    assert f"--cid {cid}" in drawn(lambda out, _: Timeline().show(out, asked), None, 40)


def test_a_check_up_goes_on_below_its_beginning_in_a_terminal_and_stays_one_line_in_a_pipe() -> None:
    check = {"of": "uici", "name": "state", "state": "warn", "seen": "word " * 20, "advice": "do " * 30}
    document = {"ok": True, "checks": [check]}
    out = io.StringIO()
    show_check_up(Console(file=out, width=60, force_terminal=True, color_system=None), document)
    _, *lines, _ = (line.rstrip() for line in out.getvalue().splitlines())
    seen = [line for line in lines if "word" in line]
    advice = [line for line in lines if "word" not in line]
    assert len(seen) > 1
    assert {line.index("word") for line in seen} == {seen[0].index("word")}
    assert len(advice) > 1
    assert advice[0].startswith("        do: do do")
    assert all(line.startswith(" " * 12 + "do") for line in advice[1:])
    assert len(drawn(show_check_up, document, 60).splitlines()) == 4


def test_a_timeline_says_how_long_things_took() -> None:
    def event(type_: str, second: str, **more: Any) -> dict[str, Any]:
        return {"type": f"uici.{type_}", "time": f"2026-01-01T00:00:{second}+00:00", "run": "run_1", "data": more}

    events = [
        event("run_requested", "00.000"),
        event("call_sent", "01.000", call="program.start", attempt=0, undo=False),
        event("call_done", "01.250", call="program.start", outcome="done"),
        event("run_ended", "59.000", verdict="effective"),
    ]
    timeline = Timeline()
    lines = [line.plain for each in events for line in timeline.lines(each)]
    assert [" ".join(line.split()[1:]) for line in lines] == [
        "+0.000s request run requested",
        "+1.0s execution call sent call=program.start",
        "+1.2s execution call done call=program.start took 0.250s",
        "+59.0s end run ended verdict=effective took 59.0s",
    ]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0.0424, "0.042s"), (4.24, "4.2s"), (59.96, "1m00s"), (187, "3m07s"), (3599.6, "1h00m"), (7500, "2h05m")],
)
def test_durations(amount: float, shown: str) -> None:
    assert seconds(amount) == shown
