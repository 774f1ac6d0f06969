"""The threat model names tests that exist, and every attack stands in it."""

from __future__ import annotations

import re

from tests.real.components import REPOSITORY

PAGE = (REPOSITORY / "docs" / "threat-model.md").read_text()
NAMED = set(re.findall(r"`(test_\w+)`", PAGE))
DEFINED = {
    path: set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    for path in (REPOSITORY / "tests").rglob("test_*.py")
}


def test_each_test_that_is_named_exists() -> None:
    assert len(NAMED) > 50
    assert NAMED - set().union(*DEFINED.values()) == set()


def test_each_threat_names_what_proves_its_defence() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| [STRIDE ]+ \|", line)]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`test_\w+`", row.rpartition("| ")[2])] == []


def test_each_file_of_attacks_stands_in_the_page() -> None:
    attacks = {path: tests for path, tests in DEFINED.items() if path.parent.name == "attack"}
    assert len(attacks) > 8
    assert [
        path.name for path, tests in attacks.items() if not tests & NAMED and path.name != "test_threat_model.py"
    ] == []
