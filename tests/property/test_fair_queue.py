"""The queue of the intake: bounded, in order for each sender, and nobody is starved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uici.intake.waiting import FairQueue, FullError

_SENDERS = ("noisy", "quiet", "third")
_STEPS = st.lists(st.sampled_from([*_SENDERS, *["noisy"] * 5, "take", "take"]), max_size=200)


@given(st.integers(1, 12), _STEPS)
def test_each_sender_is_served_in_order_and_waits_for_at_most_one_of_each_other(most: int, steps: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(most)
    put = dict.fromkeys(_SENDERS, 0)
    taken = dict.fromkeys(_SENDERS, 0)
    passed_over = dict.fromkeys(_SENDERS, 0)
    for step in steps:
        if step == "take":
            item = queue.get(timeout=0)
            assert (item is None) is (put == taken)
            if item is None:
                continue
            sender, number = item
            assert number == taken[sender], "in order"
            taken[sender] += 1
            passed_over[sender] = 0
            for other in _SENDERS:
                if other != sender and put[other] > taken[other]:
                    passed_over[other] += 1
                    assert passed_over[other] < len(_SENDERS), f"{other} is starved"
        else:
            waiting = {sender: put[sender] - taken[sender] for sender in _SENDERS}
            try:
                queue.put(step, (step, put[step]))
            except FullError:
                assert sum(waiting.values()) >= most
                others = sum(1 for sender in _SENDERS if sender != step and waiting[sender])
                assert waiting[step] >= most // (others + 1) or sum(waiting.values()) >= 2 * most
            else:
                put[step] += 1
        assert len(queue) == sum(put.values()) - sum(taken.values()) <= 2 * most


def test_whoever_fills_the_queue_locks_nobody_out() -> None:
    queue: FairQueue[int] = FairQueue(10)
    for number in range(10):
        queue.put("noisy", number)
    with pytest.raises(FullError):
        queue.put("noisy", 10)
    queue.put("quiet", 100)
    assert [queue.get(0), queue.get(0)] == [0, 100]


def test_what_waits_when_it_is_closed_is_still_served_and_nothing_more_is_taken() -> None:
    queue: FairQueue[int] = FairQueue(10)
    queue.put("one", 1)
    queue.close()
    with pytest.raises(FullError):
        queue.put("one", 2)
    assert not queue.ended
    assert (queue.get(), queue.get()) == (1, None)
    assert queue.ended
