"""The door of the webhook: each bound refuses in time, with its own reason, and lets in again."""

from __future__ import annotations

import asyncio
import errno
import time

import pytest

from uici.model.errors import Problem, ProblemKind
from uici.model.settings import IntakeSettings, ServiceSettings
from uici.service.admission import Admission
from uici.service.lateness import Lateness

MIB = 1024 * 1024


def door(free: int | None = None, **service: int) -> Admission:
    return Admission(ServiceSettings(**service), IntakeSettings(least_free_bytes=100), lambda: free)


def code(problem: Problem | None) -> str | None:
    assert problem is None or problem.kind is ProblemKind.UNAVAILABLE
    return None if problem is None else problem.code


def test_bytes_on_their_way_are_bounded_and_a_single_body_always_finds_room() -> None:
    given = door(max_body_bytes=4 * MIB, body_bytes=MIB)
    assert given.refusal(4 * MIB) is None
    with given.holding(4 * MIB):
        assert code(given.refusal(1)) == "too_many_bytes"
    given = door(max_body_bytes=4 * MIB, body_bytes=8 * MIB)
    with given.holding(5 * MIB), given.holding(None):  # what is too large is counted as the largest that is read
        assert code(given.refusal(1)) == "too_many_bytes"
    with given.holding(4 * MIB):
        assert given.refusal(4 * MIB) is None
        assert code(given.refusal(None)) is None
    with pytest.raises(ZeroDivisionError), given.holding(8 * MIB):
        raise ZeroDivisionError
    assert given.refusal(1) is None


def test_with_too_much_memory_in_use_nothing_is_taken() -> None:
    assert code(door(memory_bytes=64 * MIB).refusal(1)) == "memory_short", "this process has more"
    assert door(memory_bytes=1 << 50).refusal(1) is None
    assert door().refusal(1) is None


@pytest.mark.parametrize(("free", "told"), [(99, "disk_short"), (100, None), (None, None)])
def test_with_too_little_room_on_the_disk_nothing_is_taken(free: int | None, told: str | None) -> None:
    assert code(door(free).refusal(1)) == told


def test_a_disk_that_cannot_be_looked_at_is_taken_for_full_until_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [True]

    def free() -> int:
        if gone:
            raise OSError(errno.EIO, "Input/output error")
        return 1000

    given = Admission(ServiceSettings(), IntakeSettings(least_free_bytes=100), free)
    assert code(given.refusal(1)) == "disk_unreadable"
    gone.clear()
    assert given.refusal(1) is None, "nobody is sent away for what is over"
    gone.append(True)
    assert given.refusal(1) is None, "while there is room, it is not looked at for each notification"
    later = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert code(given.refusal(1)) == "disk_unreadable"


def test_while_answers_would_wait_for_too_long_a_single_one_is_taken_and_no_other() -> None:
    async def held_up() -> list[str | None]:
        lateness = Lateness()
        settings = IntakeSettings(least_free_bytes=100, wait_seconds=2)
        given = Admission(ServiceSettings(), settings, lambda: None, lateness.of_an_answer)
        lateness.start()
        await asyncio.sleep(0)
        with given.holding(1):
            told = [code(given.refusal(1))]
            time.sleep(1)  # this is what holds the loop up
            told.append(code(given.refusal(1)))  # before the timer could know
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            told.append(code(given.refusal(1)))  # the timer has come, late
        told.append(code(given.refusal(1)))
        with given.holding(1):
            async with asyncio.timeout(30):
                while given.refusal(1) is not None:
                    await asyncio.sleep(0.05)
            time.sleep(1)  # as above
            lateness.stop()
            return [*told, code(given.refusal(1))]

    assert asyncio.run(held_up()) == [None, "service_slow", "service_slow", None, None]
