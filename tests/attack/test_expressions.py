"""Expressions of the configuration held against texts that an attacker chooses."""

from __future__ import annotations

import pytest

from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.intake.payload import LabelLimits
from uici.model.condition import Condition
from uici.model.matching import Matcher
from uici.model.parameters import check_value

LONGEST = LabelLimits().label_characters
# With Python's expressions each of these takes minutes at least.
CARELESS = ("(a+)+b", "(a|a)*b", "(.*)*b", "(a|aa)+b", "([a-z]+)*b", ".*.*.*.*.*b", "(?i)(x+x+)+b")
WORDS = ("replica", "kube", "a", "x", "cert.", "node_", "lag", "error ", "aA", "\u00e9", "-", "watchdog", "e2e_")


@pytest.mark.parametrize("expression", CARELESS)
@pytest.mark.timeout(60)
def test_a_careless_expression_and_the_longest_label(expression: str) -> None:
    for word in ("a", "x", "b"):
        text = word * LONGEST
        Matcher(f'alertname=~"{expression}"').matches({"alertname": text})
        Condition(field="lines", matches=expression).holds({"lines": [text]})
        check_value({"type": "string", "pattern": f"^({expression})$"}, text)


@pytest.mark.timeout(120)
def test_no_shipped_rule_is_slow_with_any_label() -> None:
    site = load_site(None, executors=discover_executors())
    matchers = {matcher for strategy in site.strategies.values() for matcher in strategy.match}
    assert len(matchers) > 20
    for matcher in matchers:
        for word in WORDS:
            matcher.matches({matcher.label: word * (LONGEST // len(word))})


@pytest.mark.parametrize("expression", ["(?=a)a", "(a)\\\\1", "(", "a{2000}", "(((a{100}){100}){100})"])
def test_what_could_not_be_bounded_is_refused_where_it_is_written(expression: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        Matcher(f'alertname=~"{expression}"')
    with pytest.raises(ValueError, match="is not a regular expression"):
        Condition(field="lines", matches=expression.replace("\\\\", "\\"))
