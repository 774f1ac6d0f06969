from __future__ import annotations

import pytest

from tests.waiting import until


def test_it_returns_the_first_true_value() -> None:
    seen = iter([None, "", "there", "gone"])
    assert until(lambda: next(seen), "the word") == "there"


def test_what_never_comes_is_told_with_what_was_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"in vain for: the pods; last seen: \[\]\nthe log's end"):
        until(list, "the pods", lambda: "the log's end", seconds=0)


def test_it_is_looked_at_once_more_when_the_time_is_over() -> None:
    assert until(lambda: True, "anything", seconds=-1)
