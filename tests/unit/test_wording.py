"""How messages read, and what foreign words cannot do in them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sites import NOW
from uici.model.alert import AlertOutcome
from uici.model.base import JsonObject
from uici.model.incident import Incident, IncidentState
from uici.model.settings import MessageKind
from uici.model.verdict import Verdict
from uici.notify.messages import Further, Tried, approval_message, incident_message, outcome_message
from uici.notify.wording import Form, body_of, inert, text_of, title_of

HOSTILE = (
    "<!here> <!channel> <@U123> <#C123> @channel @everyone @here @all (@ops) https://evil.example/x www.evil.example "
    "[click](https://evil.example) ![x](http://evil.example/p.png) <https://evil.example|safe> mailto:a@b.c "
    "`code` **bold** ~~gone~~ ``` \u202egnp.exe \x1b[31m\r\n# Heading\n> quote\n- item"
)
CALLS = re.compile(r"<[!@#]|@(channel|everyone|here|all|ops)\b")
LINKS = re.compile(r"https?://|www\.|mailto:|\]\(")


def incident() -> Incident:
    return Incident(
        id="inc_1", key="local/web", environment="local", target="web", state=IncidentState.OPEN, outcome=None,
        reason="", opened_at=NOW, closed_at=None, severity="critical", title="Down on web", run_id="run_1",
        superseded_by=None,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_foreign_words_call_nobody_and_link_nowhere(form: Form) -> None:
    message: JsonObject = {
        "title": f"Down on web {HOSTILE}",
        "severity": HOSTILE,
        "why": HOSTILE,
        "where": {"place": HOSTILE},
        "what": {"findings": [{"name": HOSTILE, "summary": HOSTILE}]},
        "annotations": {"summary": HOSTILE, HOSTILE: "x"},
        "tried": [{"remedy": HOSTILE, "verdict": "ineffective", "detail": HOSTILE}],
        "plan": [{"operation": HOSTILE, "target": HOSTILE, "parameters": {"a": HOSTILE}}],
        "links": [{"name": HOSTILE, "url": "javascript:alert(1)"}, {"name": "Runbook", "url": f"https://x/{HOSTILE}"}],
        "held": [{"at": "12:00", "title": HOSTILE, "incident": HOSTILE, "outcome": HOSTILE}],
        "problems": [HOSTILE],
        "patch": HOSTILE,
        "what_to_do": [HOSTILE, f"do it: uici run x {HOSTILE}", f"uici incidents {HOSTILE}"],
    }
    title, body = title_of(message), body_of(message, form)
    assert "\n" not in title
    for text in (title, body):
        assert not CALLS.search(text), CALLS.search(text)
        assert not re.search(r"https?://|www\.|mailto:", text)
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "\r" not in text
    assert "](" not in title
    if form == "markdown":
        # No link, whatever its address; and no heading, quote or list that is not ours begins a line.
        outside = re.sub(r"```.*?```|`[^`]*`", "", body, flags=re.DOTALL)
        assert not re.search(r"(?<!\\)\](?=\()", outside)
        assert not re.search(r"^(#|>)", outside, re.MULTILINE)


@given(st.text())
def test_inert_words_are_one_line_without_anything_that_acts(text: str) -> None:
    shown = inert(text)
    assert len(shown.splitlines()) <= 1
    assert not CALLS.search(shown)
    assert not LINKS.search(shown.replace("](", ""))
    assert len(shown) <= 2 * 600 + 100


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("exit code 137 of oom_killed", "exit code 137 of oom_killed"),
        ("mail to ops@example.org", "mail to ops@example.org"),
        ("connection refused: postgres://db:5432/x", "connection refused: postgres[:]//db:5432/x"),
        ("a < b", "a \u2039 b"),
    ],
)
def test_what_is_harmless_stays_readable(text: str, shown: str) -> None:
    assert inert(text) == shown


def test_an_escalation_reads_from_what_to_what_to_do() -> None:
    message = incident_message(
        kind=MessageKind.ESCALATION,
        incident=incident(),
        why="no_remedy_left: restart did not help",
        tried=[Tried(remedy="restart", verdict=Verdict.INEFFECTIVE, undone=True)],
        plan=[{"operation": "restart_service", "target": "web", "parameters": {}}],
    ) | {"severity": "critical"}
    message |= {
        "annotations": {"summary": "web does not answer"},
        "links": [{"name": "Runbook", "url": "https://r/web"}],
    }
    assert text_of(message).splitlines() == [
        "[critical] Down on web in local: UICI needs a human",
        "Where: local/web",
        "Why: no_remedy_left: restart did not help",
        f"Since: {NOW:%Y-%m-%d %H:%M} UTC",
        "Summary: web does not answer",
        "Tried: restart (ineffective, undone)",
        "Plan: restart_service on web",
        "Runbook: https://r/web",
        "Do: see everything known of it: uici incidents inc_1",
        "Do: see what the run did, call by call: uici runs run_1",
        "Do: take all of it along for a ticket: uici incidents bundle inc_1",
    ]
    markdown = body_of(message, "markdown").splitlines()
    assert "**Do:** see everything known of it: `uici incidents inc_1`" in [line.rstrip() for line in markdown]
    assert "**Runbook:** https://r/web" in [line.rstrip() for line in markdown]
    assert all(line.endswith("  ") for line in markdown[:-1]), "every line stays a line"


def test_a_proposal_gives_the_command_that_does_it() -> None:
    step = {"operation": "scale_service", "target": "web", "parameters": {"replicas": 3, "note": "it's me"}}
    message = incident_message(kind=MessageKind.PROPOSAL, incident=incident(), why="autonomy", plan=[step])
    assert """uici run scale_service web -p replicas:=3 -p 'note=it'"'"'s me' -e local""" in text_of(message)


def test_an_approval_gives_both_answers_as_commands() -> None:
    text = text_of(
        approval_message(
            run="run_1", incident="inc_1", title="Down on web", environment="local", target="web", remedy="restart",
            reasons=["risk: medium needs approval"], cid="sha256:ab", plan=[], expires_at=NOW,
            guides=[Further(name="web", title="Web, <!here>", url="https://wiki.example/guides/web"),
                    Further(name="odd", title="Odd things")],
        )
    )  # fmt: skip
    assert f"Down on web: approve restart on web in local? Open until {NOW:%Y-%m-%d %H:%M} UTC" in text
    assert "Do: allow it: uici approve run_1 --cid sha256:ab" in text
    assert "Do: refuse it: uici reject run_1 --cid sha256:ab" in text
    # Guides are linked where there is a page, and named always; a title calls nobody.
    assert "Guide Web, \u2039!here\u203a: https://wiki.example/guides/web" in text
    assert "Do: read the guide 'Odd things': uici guides show odd" in text
    assert "<!here>" not in text


def test_an_outcome_says_how_long_it_took_and_what_helped() -> None:
    from datetime import timedelta

    message = outcome_message(
        incident=incident(), outcome=AlertOutcome.HEALED, why="healthy and silent",
        tried=[Tried(remedy="restart", verdict=Verdict.EFFECTIVE)],
        ended_at=NOW + timedelta(seconds=95), acted_at=NOW + timedelta(seconds=2),
    )  # fmt: skip
    assert message["title"] == "Down on web in local: UICI healed it with restart, after 1 min 35 s"
    assert (message["seconds"], message["seconds_to_first_change"]) == (95.0, 2.0)
    assert "Tried: restart (effective)" in text_of(message)
