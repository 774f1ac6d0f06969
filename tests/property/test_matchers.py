from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from uici.model.matching import Matcher

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@given(NAMES, st.text(), st.text())
def test_equality_and_its_negation_split_the_world(name: str, value: str, other: str) -> None:
    equal, unequal = Matcher(f"{name}={_quoted(value)}"), Matcher(f"{name}!={_quoted(value)}")
    assert equal.matches({name: value})
    for labels in ({name: other}, {}):
        assert equal.matches(labels) is (labels.get(name, "") == value)
        assert equal.matches(labels) is not unequal.matches(labels)


@given(NAMES, st.text(), st.text())
def test_expressions_are_anchored(name: str, value: str, more: str) -> None:
    matcher = Matcher(f"{name}=~{_quoted(re.escape(value))}")
    assert matcher.matches({name: value})
    assert matcher.matches({name: value + more}) is (more == "")
    assert matcher.matches({name: more + value}) is (more == "")


@given(st.text(max_size=60))
def test_any_text_is_a_matcher_or_a_clear_refusal(text: str) -> None:
    refused = ""
    try:
        refused = "" if Matcher(text).label in text else "its label is not in its text"
    except ValueError as error:
        refused = str(error)
    assert not refused or "is not a" in refused
