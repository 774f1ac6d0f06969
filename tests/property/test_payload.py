from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from uici.intake.payload import fingerprint_of, parse_notification
from uici.model.errors import Problem, ProblemKind

TEXTS = st.text(st.characters(codec="utf-8"))
# Texts that are one once NUL is replaced would be one name given twice.
LABELS = st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=8).filter(
    lambda labels: len({name.replace("\0", "\ufffd") for name in labels}) == len(labels)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def _only_problems(body: bytes) -> None:
    problem = _problem(body, 8)
    assert problem is None or (problem.kind is ProblemKind.INVALID and problem.detail)


def _problem(body: bytes, max_depth: int) -> Problem | None:
    try:
        parse_notification(body, max_depth=max_depth)
    except Problem as problem:
        return problem
    return None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(body: bytes) -> None:
    _only_problems(body)


@given(st.text(alphabet='[]{}",:\\ 1a', max_size=200))
def test_no_brackets_break_the_parser(text: str) -> None:
    _only_problems(text.encode())
    _only_problems(b'{"version":"4","alerts":[],"x":' + text.encode() + b"}")


@given(JSON, JSON, JSON)
def test_no_document_breaks_the_parser(alert: Any, labels: Any, more: Any) -> None:
    _only_problems(json.dumps({"version": "4", "alerts": [alert, {"labels": labels}], "x": more}).encode())


@given(JSON)
def test_the_depth_that_is_refused_is_the_depth_that_is_there(value: Any) -> None:
    def depth(item: Any) -> int:
        items = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if items is None else 1 + max((depth(inner) for inner in items), default=0)

    document = {"version": "4", "alerts": [], "x": value}
    for ensure_ascii in (True, False):
        body = json.dumps(document, ensure_ascii=ensure_ascii).encode()
        assert _problem(body, max(2, depth(document))) is None
        if depth(document) > 2:
            refused = _problem(body, depth(document) - 1)
            assert refused is not None
            assert refused.code == "too_deep"


@given(LABELS, LABELS)
def test_texts_keep_every_character_that_can_be_kept(labels: dict[str, str], annotations: dict[str, str]) -> None:
    alert = {"status": "firing", "labels": labels, "annotations": annotations, "startsAt": "2026-01-01T00:00:00Z"}
    body = json.dumps({"version": "4", "alerts": [alert]}).encode()
    parsed = parse_notification(body, max_depth=8).alerts[0]
    assert parsed.labels == {_kept(name): _kept(value) for name, value in labels.items()}
    assert parsed.annotations == {_kept(name): _kept(value) for name, value in annotations.items()}
    assert parsed.fingerprint == fingerprint_of(dict(reversed(parsed.labels.items())))


@given(st.lists(st.sampled_from(["\\", "\0", "u0000", '"', "\\u0000", "x", "\u00e9"]), max_size=12).map("".join))
def test_only_nul_itself_is_replaced(text: str) -> None:
    alert = {"status": "firing", "labels": {"a": text}, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
    for ensure_ascii in (True, False):
        body = json.dumps({"version": "4", "alerts": [alert]}, ensure_ascii=ensure_ascii).encode()
        assert parse_notification(body, max_depth=8).alerts[0].labels == {"a": _kept(text)}


def _kept(text: str) -> str:
    return text.replace("\0", "\ufffd")
