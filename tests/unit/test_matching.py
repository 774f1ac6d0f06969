from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from uici.model.matching import Matcher, all_match


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ('a="x"', {"a": "x"}, True),
        ('a="x"', {"a": "xx"}, False),
        ('a="x"', {}, False),
        ('a=""', {}, True),
        ('a!="x"', {}, True),
        ('a!="x"', {"a": "x"}, False),
        ('a=~"x|y"', {"a": "y"}, True),
        ('a=~"x|y"', {"a": "xy"}, False),
        ('a=~"x"', {"a": "x\n"}, False),
        ('a=~".*"', {}, True),
        ('a=~".+"', {}, False),
        ('a!~".+"', {}, True),
        ('a!~"x.*"', {"a": "xy"}, False),
        ('a=~"(?i)Kube.*"', {"a": "kubepod"}, True),
        ('a=~"(?i)x|y"', {"a": "Y"}, True),
        ('a=~"(?i)x|y"', {"a": "zY"}, False),
        (" a = x ", {"a": "x"}, True),
        (r'a="q\"\\\n"', {"a": 'q"\\\n'}, True),
        (r'a=~"\\d+"', {"a": "17"}, True),
    ],
)
def test_matching(text: str, labels: dict[str, str], expected: bool) -> None:
    assert Matcher(text).matches(labels) is expected


@pytest.mark.parametrize("text", ["", "a", "a=", 'a=="x"', 'a="x', '1a="x"', 'a=~"("', 'a="x" b="y"', 'a~"x"', "{a=x}"])
def test_what_is_no_matcher_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (matcher|regular expression)"):
        Matcher(text)


def test_all_must_match_and_none_matches_everything() -> None:
    assert all_match((), {"a": "x"})
    assert all_match((Matcher('a="x"'), Matcher('b!="y"')), {"a": "x"})
    assert not all_match((Matcher('a="x"'), Matcher('b="y"')), {"a": "x"})


class _Holder(BaseModel):
    match: tuple[Matcher, ...]


def test_types_declare_matchers_as_text() -> None:
    held = _Holder.model_validate({"match": ['a=~"x"']})
    assert held.match == (Matcher('a=~"x"'),)
    assert held.model_dump() == {"match": ('a=~"x"',)}
    assert hash(held.match[0]) == hash(Matcher('a =~ "x"'))
    for wrong in (5, "nonsense"):
        with pytest.raises(ValidationError):
            _Holder.model_validate({"match": [wrong]})
