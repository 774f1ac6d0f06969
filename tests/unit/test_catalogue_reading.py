from __future__ import annotations

from typing import Any

import pytest

from uici.catalogue.diagnostics import Report
from uici.catalogue.reading import MAX_BYTES, MAX_DEPTH, Node, read_bytes, scalar_of


def read(text: str | bytes) -> tuple[Node | None, list[str]]:
    report = Report()
    node = read_bytes(text.encode() if isinstance(text, str) else text, "x.yml", report)
    return node, [str(diagnostic) for diagnostic in report]


def plain(text: str) -> Any:
    node, problems = read(text)
    assert problems == []
    assert node is not None
    return node.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("-3", -3), ("0", 0), ("1.5", 1.5), ("1e3", 1000.0), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None),
        # What other readers turn into something else stays the text that was written.
        ("on", "on"), ("yes", "yes"), ("no", "no"), ("12e456789012", "12e456789012"), ("0x10", "0x10"),
        ("0o17", "0o17"), ("017", "017"), ("1_000", "1_000"), ("2026-01-02", "2026-01-02"), ("12:30:45", "12:30:45"),
        (".inf", ".inf"), (".nan", ".nan"), ("+1", "+1"), ("1.", "1."), ("9" * 30, "9" * 30), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_scalars_mean_the_same_to_everybody(text: str, value: object) -> None:
    found = scalar_of(text)
    assert (type(found), found) == (type(value), value)


def test_quoted_scalars_are_texts() -> None:
    assert plain("a: '12'\nb: \"true\"\nc: |\n  null\n") == {"a": "12", "b": "true", "c": "null\n"}


def test_keys_are_texts() -> None:
    assert plain("on: 1\n1: a\ntrue: b\n") == {"on": 1, "1": "a", "true": "b"}


def test_duplicate_keys_are_found_with_both_places_and_reading_goes_on() -> None:
    node, problems = read("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert node is not None
    assert problems == [
        "x.yml:4:3: duplicate_key: 'c' is written twice in one mapping; first at line 3, column 3",
        "x.yml:5:1: duplicate_key: 'a' is written twice in one mapping; first at line 1, column 1",
    ]


def test_aliases_are_written_out() -> None:
    assert plain("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    node, problems = read(bomb)
    assert node is None
    assert "too_large" in problems[0]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: &a [*a]", "recursive_alias"),
        ("a: *b", "unknown_anchor"),
        ("a: !!python/object/apply:os.system [x]", "tag_refused"),
        ("a: !!str 1", "tag_refused"),
        ("a: ! x", "tag_refused"),
        ("x: &x {a: 1}\nb:\n  <<: *x\n", "merge_refused"),
        ("? [a]\n: b\n", "wrong_key"),
        ("? {a: 1}\n: b\n", "wrong_key"),
        ("a: &x b\n*x : c\n", "wrong_key"),
        ("a: 1\n---\nb: 2\n", "several_documents"),
        ("[a, b]", "wrong_type"),
        ("text", "wrong_type"),
        ("a: [", "bad_yaml"),
        ("a: 'x", "bad_yaml"),
        ("\tb: 1", "bad_yaml"),
        ("a: \x07", "bad_yaml"),
        ("a: " + "[" * (MAX_DEPTH + 1), "too_deep"),
        ("- " * 100_000 + "a", "too_deep"),
        ("{a: " * 3_000, "too_deep"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, code: str) -> None:
    node, problems = read(text)
    assert node is None
    assert [problem.split(": ")[1] for problem in problems] == [code]


def test_nesting_through_aliases_counts() -> None:
    text = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, MAX_DEPTH + 5))
    assert "too_deep" in read(text)[1][0]


def test_bytes_that_are_not_utf8_are_named_with_their_place() -> None:
    assert read(b"a: 1\nb: \xff\n")[1] == ["x.yml:2:4: not_utf8: byte 0xff is not UTF-8; save the file as UTF-8"]


def test_a_byte_order_mark_is_no_problem() -> None:
    assert read(b"\xef\xbb\xbfa: 1\n")[1] == []


def test_a_file_that_is_too_large_is_not_parsed() -> None:
    assert "file_too_large" in read(b"#" * (MAX_BYTES + 1))[1][0]


def test_nothing_is_an_empty_mapping() -> None:
    for text in ("", "# only a comment\n", "---\n", "null\n"):
        assert plain(text) == {}


def test_positions_survive() -> None:
    node, _ = read("a:\n  b:\n    - c: [1, 2]\n")
    assert node is not None
    found = node.at("a", "b", 0, "c", 1)
    assert (found.value, str(found.position)) == (2, "x.yml:3:14")
    assert str(node.key_position("a", "b", 0, "c")) == "x.yml:3:7"
