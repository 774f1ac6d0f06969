from __future__ import annotations

import dataclasses

import pytest

from tests.unit.sites import alert
from uici.model.alert import Alert
from uici.model.background import Background, link, plain


def about(generator_url: str = "", **annotations: str) -> Alert:
    return dataclasses.replace(alert(alertname="Down"), annotations=annotations, generator_url=generator_url)


def test_words_and_links_of_several_alerts_are_told_once() -> None:
    first = about("http://p:9090/graph?g0.expr=up", summary="down", runbook_url="https://wiki/down", other="not told")
    second = about("http://p:9090/graph?g0.expr=up", summary="again", description="more", dashboard="https://g/d/1")
    found = Background.of([first, second])
    assert found.texts == {"summary": "down", "description": "more"}
    assert [(item.name, item.url) for item in found.links] == [
        ("runbook", "https://wiki/down"),
        ("query", "http://p:9090/graph?g0.expr=up"),
        ("dashboard", "https://g/d/1"),
    ]


def test_a_runbook_that_is_no_link_is_a_text() -> None:
    assert Background.of([about(runbook="see page 7\x1b[2J of the binder")]).texts == {
        "runbook": "see page 7 [2J of the binder"
    }


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)", "file:///etc/passwd", "https://user:secret@host/", "http://", "http:///x", "//host/x",
        "https://host/a b", "https://host/\x1b[31m", 'https://host/"><script>', "https://host/`x`", "https://h/\u202egnp",
        "https://[broken/", "https://host/" + "a" * 2000, "https://host/\n", "",
    ],
)  # fmt: skip
def test_what_is_no_safe_link_is_none(text: str) -> None:
    assert link(text) is None
    assert Background.of([about(text, runbook_url=text, dashboard=text)]).links == ()


@pytest.mark.parametrize("text", ["https://wiki/x?a=b&c=%22#d", "http://127.0.0.1:9090/graph?g0.expr=up%3D%3D0"])
def test_links_are_passed_on_as_they_are(text: str) -> None:
    assert link(text) == text


def test_texts_are_bounded_and_inert() -> None:
    hostile = "\x1b]0;title\x07a\u202eb\u200bc\r\nd\x00\x9b31m <b>*x*</b>"
    assert plain(hostile) == "]0;title a b c d 31m <b>*x*</b>"
    long = Background.of([about(summary="x" * 100_000, description="\x1b" * 100_000)])
    assert len(long.texts["summary"]) == 1000
    assert long.texts["summary"].endswith("…")
    assert len(long.texts["description"]) <= 1
    many = Background.of([about(runbook_url=f"https://wiki/{number}") for number in range(50)])
    assert len(many.links) == 8
