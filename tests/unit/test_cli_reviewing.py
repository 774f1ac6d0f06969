"""Previews as a reviewer reads them: diffs, tables of a folder, Markdown, and the exit codes that pipelines use."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from uici.cli import reviewing
from uici.cli.app import app
from uici.cli.rendering import show_preview

HOSTILE = "a|b`<script>alert(1)</script>@all\n| x |\n[l](http://e) **b** </pre></details>\x1b[2J~~s~~ :tada: #1 $x$"


pytestmark = pytest.mark.usefixtures("lone_shell")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "targets.yml").write_text(
        "targets:\n  web: {bindings: {local: {program: web, command: [/bin/sleep, '1'], versions: {a: {}, b: {}}}}}\n"
    )
    (folder / "policies.yml").write_text("autonomy: auto\nrisk: {auto_approve_up_to: medium}\n")
    payloads = tmp_path / "payloads"
    payloads.mkdir()
    write(payloads / "down.json", alert("ServiceDown", uici_target="web"))
    return folder


def alert(name: str, status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status, "labels": {"alertname": name, **labels}, "annotations": {},
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "",
    }  # fmt: skip


def write(path: Path, *alerts: dict[str, Any]) -> None:
    head = {"version": "4", "groupKey": "{}", "receiver": "uici", "status": "firing", "groupLabels": {}}
    more = {"commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://127.0.0.1:9093", "truncatedAlerts": 0}
    path.write_text(json.dumps({**head, **more, "alerts": list(alerts)}))


def preview(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["preview", "--config", "site", *arguments])
    assert "Traceback" not in result.output
    return result


def test_a_folder_gives_a_table_for_each_file_and_broken_ones_do_not_stop_the_others(site: Path) -> None:
    Path("payloads/broken.json").write_text("{")
    Path("payloads/plan.json").write_text('{"steps": []}')
    Path("payloads/ignored.txt").write_text("no payload")
    result = preview("payloads")
    assert result.exit_code == 2
    assert "payloads/down.json" in result.stdout
    assert re.search(r"ServiceDown +local/web +service_down +\S+ +would run", result.stdout)
    assert result.stdout.count("  broken: ") == 2
    assert "3 files, 2 broken; 1 would run" in result.stdout
    files = json.loads(preview("payloads", "-o", "json").stdout)["files"]
    assert [(file["file"], file.get("problem", {}).get("code")) for file in files] == [
        ("payloads/broken.json", "malformed_json"),
        ("payloads/down.json", None),
        ("payloads/plan.json", "not_a_notification"),
    ]
    Path("empty").mkdir()
    assert preview("empty").exit_code == 2


def test_several_files(site: Path) -> None:
    write(Path("resolved.json"), alert("ServiceDown", "resolved", uici_target="web"))
    result = preview("payloads/down.json", "resolved.json")
    assert result.exit_code == 0
    assert "2 files, 0 broken; 1 self_resolved, 1 would run" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["payloads", "--exit-code"], 10),
        (["payloads", "--expect", "would-run"], 0),
        (["payloads", "--expect", "would-run", "--exit-code"], 10),
        (["payloads", "--expect", "would-run", "--expect", "escalated"], 0),
        (["payloads", "--expect", "would-wait-for-approval"], 1),
        (["payloads", "--expect", "would-wait-for-approval", "--exit-code"], 1),
        (["unheard.json", "--exit-code"], 0),
        (["unheard.json", "--expect", "escalated"], 0),
        (["broken.json", "payloads", "--exit-code"], 2),
        (["payloads", "--expect", "nonsense"], 2),
    ],
)
def test_exit_codes_that_a_pipeline_can_tell_apart(site: Path, arguments: list[str], code: int) -> None:
    write(Path("unheard.json"), alert("Unheard"))
    Path("broken.json").write_text("{")
    assert preview(*arguments).exit_code == code


def test_what_would_only_be_recorded_changes_nothing(site: Path) -> None:
    (site / "policies.yml").write_text("autonomy: observe\n")
    assert preview("payloads", "--exit-code", "--expect", "would-be-recorded-not-run").exit_code == 0


def test_every_outcome_has_a_name_for_programs() -> None:
    runs = Path(reviewing.__file__).parents[1] / "runs"
    sources = "".join((runs / f"{name}.py").read_text() for name in ("preview", "showing", "rehearsing"))
    outcomes = re.findall(r'"(would [^"]+)"', sources)
    assert len(outcomes) >= 7
    assert {reviewing.outcome_of({"outcome": each}) for each in outcomes} <= set(reviewing.Outcome)


def test_the_diff_shows_now_and_after(site: Path) -> None:
    steps = [
        {"operation": "set_configuration", "target": "web", "parameters": {"environment": {"A_TOKEN": "s3cret"}}},
        {"operation": "rollback_version", "target": "web"},
    ]  # fmt: skip
    Path("plan.json").write_text(json.dumps({"steps": steps}))
    result = preview("--plan", "plan.json", "--diff")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "--- set_configuration on web: now" in lines
    assert "fields: " in lines[-1]
    assert "s3cret" not in result.stdout
    assert any(line.startswith("? configuration.version: unknown") for line in lines)


def test_a_diff_is_coloured_in_a_terminal_only() -> None:
    changes = [
        {"field": "replicas", "now": 1, "after": 3, "effect": "changed"},
        {"field": "state", "now": "running", "after": "running", "effect": "unchanged"},
        {"field": HOSTILE, "now": HOSTILE, "after": None, "effect": "unknown", "why": HOSTILE},
    ]
    answer = {"previews": [{"target": "web", "outcome": "would run", "steps": [{"changes": changes}]}]}
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(
            file=out, width=200, force_terminal=terminal, color_system="standard" if terminal else None, markup=False
        )
        reviewing.show_changes(console, answer)
        assert ("\x1b[32m+ replicas: 3" in out.getvalue()) is terminal
        assert "\x1b[2J" not in out.getvalue()
    assert out.getvalue().splitlines()[3:6] == ["- replicas: 1", "+ replicas: 3", '  state: "running"']
    assert out.getvalue().splitlines()[-1] == "fields: 1 changed, 1 unknown, 1 unchanged"


def rehearsed(answer: str, **more: Any) -> dict[str, Any]:
    said = {"answer": answer, "code": "", "reason": "", "changes": [], "warnings": [], **more}
    call = {"id": "scale", "name": "workload.scale", "arguments": {}, "mutates": True, "rehearsal": said}
    step = {"operation": "scale_service", "target": "web", "calls": [call], "changes": []}
    return {"previews": [{"target": "web", "outcome": "would run", "alerts": [], "steps": [step]}]}


def test_what_the_platform_says_of_a_call_is_shown_everywhere() -> None:
    change = {"object": "Deployment shop/web", "field": "spec.replicas", "now": 1, "after": 3}
    made = {"object": HOSTILE, "field": "", "now": None, "after": {"kind": HOSTILE}}
    answer = rehearsed("accepted", changes=[change, made], warnings=[HOSTILE])
    wanted = ["Deployment shop/web", "- spec.replicas: 1", "+ spec.replicas: 3"]
    for show in (reviewing.show_changes, show_preview):
        out = io.StringIO()
        show(Console(file=out, width=200, markup=False), answer)
        lines = [line.strip() for line in out.getvalue().splitlines()]
        at = lines.index("platform: accepted")
        assert lines[at + 1 : at + 4] == wanted
        assert any(line.startswith("! a|b") for line in lines)
        assert not any(line.startswith("- the object") for line in lines)
        assert "\x1b" not in out.getvalue()
    text = reviewing.markdown(answer)
    assert "platform: accepted\n  Deployment shop/web\n- spec.replicas: 1\n+ spec.replicas: 3" in text
    assert text.count("</pre>") == text.count("<pre>") == 1
    assert "<script" not in text


def test_a_refusal_of_the_platform_has_an_exit_code_of_its_own(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = rehearsed("refused", code="forbidden", reason="exceeded quota: pods")
    answer["previews"][0]["outcome"] = "would be refused by the platform"

    @contextmanager
    def asked(config: Path | None) -> Iterator[Callable[..., dict[str, Any]]]:
        yield lambda document, environment: answer

    monkeypatch.setattr("uici.bootstrap.offline_previews", asked)
    found = preview("payloads/down.json", "--exit-code")
    assert found.exit_code == 11
    assert "platform: refused: forbidden: exceeded quota: pods" in found.stdout
    assert preview("payloads/down.json").exit_code == 0
    assert preview("payloads/down.json", "--exit-code", "--expect", "would-run").exit_code == 1
    assert preview("payloads/down.json", "--expect", "would-be-refused-by-the-platform").exit_code == 0


def test_against_a_stored_preview_only_what_would_be_done_differs(site: Path) -> None:
    Path("before.json").write_text(preview("payloads", "-o", "json").stdout)
    same = preview("payloads/down.json", "--against", "before.json", "--exit-code")
    assert (same.exit_code, same.stdout) == (0, "the same would be done as before\n")
    (site / "policies.yml").write_text("autonomy: approve\n")
    write(Path("payloads/other.json"), alert("Unheard"))
    other = preview("payloads", "--against", "before.json", "--exit-code")
    assert other.exit_code == 10
    assert '-outcome: "would run"' in other.stdout
    assert '+outcome: "would wait for approval"' in other.stdout
    assert "-/- (Unheard)" in other.stdout
    found = json.loads(preview("payloads", "--against", "before.json", "-o", "json").stdout)["differences"]
    assert [each["of"] for each in found] == ["-/- (Unheard)", "local/web"]
    Path("none.json").write_text('{"steps": 1}')
    assert preview("payloads", "--against", "none.json").exit_code == 2


def test_markdown_for_a_pipelines_page(site: Path) -> None:
    Path("payloads/broken.json").write_text("{")
    result = preview("payloads", "--summary", "markdown")
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert lines[0] == "## What UICI would do"
    assert "| alerts | target | strategy | remedy | outcome | answer |" in lines
    shown = html.unescape(result.stdout)
    assert "<code>ServiceDown</code> | <code>local/web</code> | <code>service_down</code>" in shown
    assert "<details><summary><code>local/web</code>: 1 call</summary>" in shown
    assert "program.start" in shown
    assert "broken: <code>payloads/broken.json is not JSON" in shown


def test_hostile_text_cannot_break_a_table_or_the_markdown(site: Path) -> None:
    Path(f"payloads/{'x|y`<b>.json'}").write_text(json.dumps({"alerts": 1}))
    write(Path("payloads/hostile.json"), alert(HOSTILE, uici_target=HOSTILE), alert(HOSTILE))
    table = preview("payloads").stdout
    assert not {"\x1b", "\x07"} & set(table)
    text = preview("payloads", "--summary", "markdown").stdout
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {7}
    # Beside our own, not one character stands there that Markdown or HTML obeys.
    outside = re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    own = re.sub(
        r"</?(code|details|summary)>|^(##|###|\|[ |-]*---).*?$|^\| alerts .*$", "", outside, flags=re.MULTILINE
    )
    foreign = re.sub(r"&#\d+;", "", own)
    assert not set("<>`*_[]()@~$\x1b") & set(foreign), foreign
    assert "<script" not in text


def test_a_call_stays_inside_its_block() -> None:
    call = {"name": HOSTILE, "arguments": {"text": HOSTILE}, "mutates": True}
    document = {"previews": [{"target": "web", "steps": [{"calls": [call]}], "alerts": []}]}
    text = reviewing.markdown(document)
    assert text.count("</pre>") == text.count("<pre>") == 1
    assert text.count("</details>") == 1
    assert "<script" not in text
