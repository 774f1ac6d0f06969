"""The language of selections: whatever is written, it is one value or an error that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uici.model.base import canonical_json
from uici.model.condition import Condition, select
from uici.model.errors import Problem
from uici.model.references import broken_selection, is_partial, reference_in
from uici.model.selecting import SelectionError, SelectionSyntaxError, same, selector
from uici.translation.selections import resolve_selections

NAMES = st.sampled_from(["a", "b", "name", "x.y/z", 'q"uote', "ü", "length()", "0", "", "a]b"]) | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
PIECES = st.sampled_from(
    ["a", ".a", ".name", "[0]", "[-1]", "[99]", "[?name=a]", "[?a.b=1]", '[?["x.y/z"]="q\\""]', ".length()", "[", "]",
     "?", "[?name=$parameters.x]", "[?=]", '["', '["x.y/z"]', "..", "[?a=$env.HOME]", "[0", "\n", "\ud800", "[٣]",
     "9" * 5000]
) | st.text(max_size=4)  # fmt: skip
CODES = ("selection_missing", "selection_ambiguous", "selection_unfit")
TEXTS = st.lists(PIECES, max_size=6).map("".join)


@given(TEXTS, VALUES)
@settings(max_examples=600)
def test_any_text_selects_or_says_why(text: str, value: Any) -> None:
    try:
        found = selector(text)
    except SelectionSyntaxError:
        return
    assert selector(str(found)) == found, "what is shown means what was written"
    code = outcome(lambda: found.of(value))
    assert code in (None, *CODES)


@given(TEXTS | st.lists(st.sampled_from(["a", "b", "name", "0"]), min_size=1, max_size=4).map(".".join), VALUES)
@settings(max_examples=600)
def test_without_a_reason_the_same_is_selected(text: str, value: Any) -> None:
    try:
        found = selector(text)
    except SelectionSyntaxError:
        return
    nothing = object()
    selected = found.of_or(value, nothing)
    if outcome(lambda: found.of(value)) is None:
        assert selected is found.of(value) or selected == found.of(value)
    else:
        assert selected is nothing


@given(TEXTS, VALUES)
def test_a_call_is_made_or_not_and_nothing_else_happens(text: str, value: Any) -> None:
    code = outcome(lambda: resolve_selections({"x": {"$select": f"calls.first{text}"}}, {"first": value})["x"])
    assert code in (None, *CODES)


@given(TEXTS)
def test_a_reference_is_whole_or_told(text: str) -> None:
    written = f"${{calls.a{text}}}"
    found = reference_in(written)
    assert (found is None) is is_partial(written)
    if found is not None:
        assert f"${{{found.dotted}}}" == written
        assert broken_selection(written) is None


@given(st.lists(st.dictionaries(st.sampled_from(["name", "id"]), SCALARS), max_size=6), SCALARS)
def test_a_filter_gives_the_only_item_that_fits(items: list[dict[str, Any]], wanted: Any) -> None:
    text = f"items[?name={json.dumps(wanted)}]"
    try:
        found = selector(text)
    except SelectionSyntaxError:
        return  # a number that has no plain form
    literal = found.parts[1].wanted  # type: ignore[union-attr] # the second part of this text is a filter
    fitting = [item for item in items if "name" in item and same(item["name"], literal)]
    if len(fitting) == 1:
        assert found.of({"items": items}) is fitting[0]
        return
    with pytest.raises(SelectionError) as caught:
        found.of({"items": items})
    assert caught.value.code == ("selection_ambiguous" if fitting else "selection_missing")


@given(VALUES, st.integers(-6, 6))
def test_an_index_is_pythons(value: Any, number: int) -> None:
    if isinstance(value, list) and -len(value) <= number < len(value):
        assert canonical_or_repr(selector(f"[{number}]").of(value)) == canonical_or_repr(value[number])
    else:
        with pytest.raises(SelectionError):
            selector(f"[{number}]").of(value)


@given(TEXTS, VALUES)
def test_a_condition_never_fails_over_its_field(text: str, value: Any) -> None:
    try:
        condition = Condition(field=text, exists=True)
    except ValueError:
        return
    assert condition.holds(value) is (select(value, text) is not None)


def outcome(select: Callable[[], Any]) -> str | None:
    """The code of the error; None when there was a value."""
    try:
        select()
    except (SelectionError, Problem) as error:
        return error.code
    return None


def canonical_or_repr(value: Any) -> str:
    try:
        return canonical_json(value)
    except (ValueError, UnicodeError):
        return repr(value)


@pytest.mark.parametrize(
    ("text", "value", "wanted"),
    [
        ("a.0.b", {"a": [{"b": 1}]}, 1),
        ("a[-1]", {"a": [1, 2]}, 2),
        ('m["k8s.io/x"]', {"m": {"k8s.io/x": True}}, True),
        ("l[?n=80].v", {"l": [{"n": "80", "v": "text"}, {"n": 80, "v": "number"}]}, "number"),
        ('l[?n="80"].v', {"l": [{"n": "80", "v": "text"}, {"n": 80, "v": "number"}]}, "text"),
        ("l[?m.a=true].v", {"l": [{"m": {"a": 1}, "v": 1}, {"m": {"a": True}, "v": 2}, {"m": 3}]}, 2),
        ("l.length()", {"l": [1, 2, 3]}, 3),
        ("l[?id=ocid1.x/y-z:1].v", {"l": [{"id": "ocid1.x/y-z:1", "v": 0}]}, 0),
    ],
)
def test_what_is_meant(text: str, value: Any, wanted: Any) -> None:
    assert same(selector(text).of(value), wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("items[?name=web]", r"\[\?name=\"web\"\] fits 2 of the 3 items of items"),
        ("items[?name=db].id", "fits none of the 3 items"),
        ("items[3]", "items has 3 items, so none at"),
        ("items.name", "items is a list, which has no 'name'"),
        ("item", "the result has no 'item'; it has count, items"),
        ("count.length()", "count is a number, which has no length"),
        ("count[0]", "count is a number, not a list"),
    ],
)
def test_what_is_said(text: str, said: str) -> None:
    with pytest.raises(SelectionError, match=said):
        selector(text).of({"items": [{"name": "web"}, {"name": "web"}, {"name": "api"}], "count": 3})


@pytest.mark.parametrize(
    "text", ["", "a..b", "a[", "a[?x]", "a.length().b", "a[?x=$env.HOME]", "[?a[0]=1]", "a b[c]", "a" * 501]
)
def test_what_is_no_selection(text: str) -> None:
    with pytest.raises(SelectionSyntaxError):
        selector(text)
