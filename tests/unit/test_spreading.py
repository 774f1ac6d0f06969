from __future__ import annotations

import pytest

from tests.spreading import LongestFirst, together


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        ("tests/unit/test_a.py::test_it[local]", "tests/unit/test_a.py"),
        ("tests/contract/test_a.py::test_it[local]", "tests/contract/test_a.py[local]"),
        ("tests/contract/test_a.py::test_it[kubernetes-name-restart]", "tests/contract/test_a.py[kubernetes]"),
        ("tests/contract/test_a.py::test_it[localised]", "tests/contract/test_a.py"),
        ("tests/contract/test_a.py::test_it", "tests/contract/test_a.py"),
    ],
)
def test_what_shares_a_rig_stays_together(nodeid: str, name: str) -> None:
    assert together(nodeid) == name


def test_what_takes_long_comes_first() -> None:
    due = [
        "tests/contract/test_a.py[kubernetes]",
        "tests/contract/test_a.py[local]",
        "tests/integration/test_kubernetes_a.py",
        "tests/e2e/test_a.py",
        "tests/integration/test_a.py",
        "tests/unit/test_a.py",
    ]
    queue = LongestFirst((name, {}) for name in reversed(due))
    assert [queue.popitem(last=False)[0] for _ in due] == due
