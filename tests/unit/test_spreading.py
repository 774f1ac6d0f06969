from __future__ import annotations

import pytest

from tests.real.components import REPOSITORY
from tests.spreading import APART, LongestFirst, together


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        ("tests/unit/test_a.py::test_it[local]", "tests/unit/test_a.py"),
        ("tests/contract/test_a.py::test_it[local]", "tests/contract/test_a.py[local]"),
        ("tests/contract/test_a.py::test_it[kubernetes-name-restart]", "tests/contract/test_a.py[kubernetes]"),
        ("tests/contract/test_a.py::test_it[localised]", "tests/contract/test_a.py"),
        ("tests/contract/test_a.py::test_it", "tests/contract/test_a.py"),
        ("tests/e2e/test_crashes.py::test_it[a]", "tests/e2e/test_crashes.py::test_it[a]"),
    ],
)
def test_what_shares_a_rig_stays_together(nodeid: str, name: str) -> None:
    assert together(nodeid) == name


def test_what_is_taken_apart_shares_nothing() -> None:
    tests = (path.relative_to(REPOSITORY) for path in (REPOSITORY / "tests").rglob("test_*.py"))
    files = [path for path in tests if APART.match(path.as_posix())]
    assert len(files) > 10
    assert [path.name for path in files if 'scope="module"' in (REPOSITORY / path).read_text()] == []


def test_what_takes_long_comes_first() -> None:
    due = [
        "tests/contract/test_a.py[kubernetes]",
        "tests/mutation/test_a.py",
        "tests/integration/test_kubernetes_a.py",
        "tests/e2e/test_a.py",
        "tests/integration/test_a.py",
        "tests/unit/test_a.py",
    ]
    queue = LongestFirst((name, {}) for name in reversed(due))
    assert [queue.popitem(last=False)[0] for _ in due] == due


def test_half_of_the_workers_leave_the_cluster_alone() -> None:
    cluster = [f"tests/contract/test_{letter}.py[kubernetes]" for letter in "abc"]
    others = ["tests/mutation/test_a.py", "tests/e2e/test_a.py"]
    queue = LongestFirst((name, {}) for name in (*cluster, *others))
    turns = [queue.popitem(last=False)[0] for _ in (*cluster, *others)]
    assert turns == [cluster[0], others[0], cluster[1], others[1], cluster[2]]
