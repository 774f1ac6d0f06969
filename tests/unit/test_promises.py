"""The page of what UICI promises names tests that exist, and one for each promise."""

from __future__ import annotations

import re

from tests.attack.test_threat_model import DEFINED
from tests.chaos.checking import RULES
from tests.real.components import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reliability.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 5]


def test_each_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 20
    assert named - set().union(*DEFINED.values()) == set()


def test_each_promise_names_what_proves_it() -> None:
    promises = [row for row in ROWS if not row.startswith("| promise ")]
    assert len(promises) > 20
    assert [row for row in promises if not re.search(r"test_\w+|tests/chaos", row)] == []


def test_each_rule_of_chaos_stands_in_the_page() -> None:
    assert [rule for rule in RULES if f"`{rule}`" not in PAGE] == []
