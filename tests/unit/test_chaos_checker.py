"""The checker of chaos finds what it is there to find: each hand-made history breaks one rule, and only that one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import faults, senders
from tests.chaos.checking import RULES, Bounds, freezes_met, measured, violations
from tests.chaos.history import (
    Absence,
    Accepted,
    AlertRow,
    Attempt,
    Call,
    Freeze,
    Held,
    History,
    IncidentRow,
    Pause,
    RunRow,
    Stream,
    calls_of,
    looks_of,
)

BOUNDS = Bounds(freeze_seconds=3.0, takeover_seconds=10.0, look_seconds=1.0)
STARTS = "2026-01-01T00:00:00+00:00"
CALL = Call("web", "local.restart", 10.0, 11.0, True, "run1:do:cid:0:0")


def good() -> History:
    """An alert was accepted twice and healed by one call, after another that was refused; a worker died meanwhile."""
    return History(
        calls=[replace(CALL, begin=5.0, end=5.5, did=False), CALL],
        accepted=[Accepted(1.0, 0, "f", STARTS), Accepted(1.5, 1, "f", STARTS)],
        freezes=[Freeze(19.5, 20.0, 30.0)],
        absences=[Absence("host-7", 4.0, None)],
        looks={"host-8": [moment / 2 for moment in range(80)]},
        held=[Held(8.0, "run1", "active", "host-7", True), Held(12.0, "run1", "active", "host-8", True)],
        alerts=[AlertRow("f", STARTS, "inc1", "healed")],
        incidents=[IncidentRow("inc1", "closed", "healed", "healed")],
        runs=[RunRow("run1", "inc1", "ended", "healed", 1)],
        attempts=[
            Attempt("run1", "do:cid:0:0", 0, "web", "not_done"),
            Attempt("run1", "do:cid:0:0", 1, "web", "done"),
        ],
    )


def accepted_and_lost(history: History) -> None:
    history.alerts.clear()


def accepted_and_never_ended(history: History) -> None:
    history.alerts[0] = replace(history.alerts[0], outcome=None)


def an_open_incident(history: History) -> None:
    history.incidents[0] = replace(history.incidents[0], state="open")


def another_answer(history: History) -> None:
    history.incidents[0] = replace(history.incidents[0], shown="escalated")


def a_run_that_never_ended(history: History) -> None:
    history.runs[0] = replace(history.runs[0], state="waiting")


def a_run_that_ended_twice(history: History) -> None:
    history.runs[0] = replace(history.runs[0], endings=2)


def a_second_run(history: History) -> None:
    history.runs.append(RunRow("run2", "inc1", "ended", "healed", 1))


def sent_again_after_it_was_done(history: History) -> None:
    history.calls[0] = replace(history.calls[0], did=True)


def sent_again_and_nobody_knows(history: History) -> None:
    history.calls[0] = replace(history.calls[0], did=None)


def sent_without_announcement(history: History) -> None:
    history.calls.append(replace(CALL, begin=15.0, end=16.0, key="run1:do:cid:1:0"))


def announced_again_too_early(history: History) -> None:
    history.attempts[0] = replace(history.attempts[0], outcome="unknown")


def believed_to_be_done(history: History) -> None:
    history.calls.pop()


def believed_not_to_be_done(history: History) -> None:
    history.attempts[1] = replace(history.attempts[1], outcome="not_done")


def started_once_too_often(history: History) -> None:
    history.starts["web"] = 2


def done_without_a_start(history: History) -> None:
    history.starts["web"] = 0


def sent_on_docker_without_announcement(history: History) -> None:
    history.starts["web"] = 1
    history.calls = [replace(call, key=None) for call in (*history.calls, replace(CALL, begin=15.0, end=16.0))]


def two_at_once_on_docker(history: History) -> None:
    history.starts["web"] = 1
    history.calls = [replace(CALL, key=None, did=None), replace(CALL, key=None, begin=10.9, end=12.0)]


def two_at_once(history: History) -> None:
    history.calls.append(replace(CALL, begin=10.5, end=10.8, key="run2:do:cid:0:0"))
    history.attempts.append(Attempt("run2", "do:cid:0:0", 0, "web", "done"))


def one_that_never_ended_and_another(history: History) -> None:
    history.calls.append(replace(CALL, begin=12.0, end=None, did=True, key="run2:do:cid:0:0"))
    history.calls.append(replace(CALL, begin=15.0, end=16.0, did=True, key="run3:do:cid:0:0"))
    history.attempts += [Attempt(run, "do:cid:0:0", 0, "web", "done") for run in ("run2", "run3")]


def begun_in_spite_of_the_freeze(history: History) -> None:
    history.calls[1] = replace(CALL, begin=23.5, end=24.0)


def a_slot_of_an_ended_run(history: History) -> None:
    history.held.append(Held(13.0, "run1", "ended", None, True))


def a_slot_of_a_dead_worker(history: History) -> None:
    history.held.append(Held(15.0, "run1", "active", "host-7", True))


def a_slot_of_a_stopped_worker(history: History) -> None:
    history.absences[0] = Absence("host-7", 4.0, 16.0)
    history.held.append(Held(15.0, "run1", "active", "host-7", False))


def a_slot_at_the_end(history: History) -> None:
    history.slots_held.append("web")


BROKEN: dict[Callable[[History], None], str] = {
    accepted_and_lost: "one_terminal_state",
    accepted_and_never_ended: "one_terminal_state",
    an_open_incident: "one_terminal_state",
    another_answer: "one_terminal_state",
    a_run_that_never_ended: "one_end_of_a_run",
    a_run_that_ended_twice: "one_end_of_a_run",
    a_second_run: "one_end_of_a_run",
    sent_again_after_it_was_done: "nothing_sent_twice",
    sent_again_and_nobody_knows: "nothing_sent_twice",
    sent_without_announcement: "nothing_sent_twice",
    announced_again_too_early: "nothing_sent_twice",
    believed_to_be_done: "what_is_believed_is_true",
    believed_not_to_be_done: "what_is_believed_is_true",
    started_once_too_often: "starts_are_accounted_for",
    done_without_a_start: "starts_are_accounted_for",
    sent_on_docker_without_announcement: "starts_are_accounted_for",
    two_at_once_on_docker: "one_mutation_at_a_time",
    two_at_once: "one_mutation_at_a_time",
    one_that_never_ended_and_another: "one_mutation_at_a_time",
    begun_in_spite_of_the_freeze: "the_freeze_is_honoured",
    a_slot_of_an_ended_run: "no_lock_outlives_its_holder",
    a_slot_of_a_dead_worker: "no_lock_outlives_its_holder",
    a_slot_of_a_stopped_worker: "no_lock_outlives_its_holder",
    a_slot_at_the_end: "no_lock_outlives_its_holder",
}


def test_a_good_history_breaks_nothing() -> None:
    assert violations(good(), BOUNDS) == []


@pytest.mark.parametrize("break_", BROKEN, ids=lambda break_: break_.__name__)
def test_a_broken_history_is_found(break_: Callable[[History], None]) -> None:
    history = good()
    break_(history)
    assert {item.rule for item in violations(history, BOUNDS)} == {BROKEN[break_]}


def test_every_rule_is_broken_once() -> None:
    assert set(BROKEN.values()) == set(RULES)


def unobserved(history: History) -> None:
    history.looks.clear()


def seldom_observed(history: History) -> None:
    history.looks["host-8"] = [0.0, 5.0, 10.0, 15.0]


def observed_by_two_in_turn(history: History) -> None:
    history.looks = {"host-8": [4.0, 5.0, 6.0, 7.0, 8.0, 9.0], "host-9": [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]}


def come_back(history: History) -> None:
    history.absences[0] = Absence("host-7", 4.0, 6.0)


@pytest.mark.parametrize(
    "excuse", [unobserved, seldom_observed, observed_by_two_in_turn, come_back], ids=lambda each: each.__name__
)
def test_a_lock_is_only_late_while_somebody_could_take_it(excuse: Callable[[History], None]) -> None:
    history = good()
    history.held.append(Held(15.0, "run1", "active", "host-7", True))
    excuse(history)
    assert violations(history, BOUNDS) == []


def test_a_freeze_allows_for_no_more_than_the_pauses_after_it() -> None:
    history = good()
    begun_in_spite_of_the_freeze(history)
    history.pauses = [Pause(19.0, 20.4), Pause(23.4, 25.0)]
    assert violations(history, BOUNDS) == []
    history.pauses = [Pause(19.0, 20.3), Pause(23.4, 25.0)]
    assert [item.rule for item in violations(history, BOUNDS)] == ["the_freeze_is_honoured"]


def test_what_the_freezes_met_is_counted() -> None:
    history = good()
    # At the platform when the freeze was answered, begun after that, ended before, and begun after it was lifted.
    times = [(19.9, 20.1), (21.0, None), (19.0, 19.9), (30.5, 31.0)]
    history.calls = [replace(CALL, begin=begin, end=end) for begin, end in times]
    history.freezes.append(Freeze(1.0, 2.0, 3.0))
    assert freezes_met(history) == {
        "freezes": 2,
        "freezes_with_calls_on_their_way": 1,
        "calls_on_their_way": 2,
        "begun_after_the_answer": 1,
    }


def test_how_near_it_came_is_measured() -> None:
    history = good()
    begun_in_spite_of_the_freeze(history)
    history.pauses.append(Pause(1.0, 1.5))
    assert measured(history, BOUNDS) == {
        "freeze_seconds": 3.5,
        "takeover_seconds": 4.0,
        "takeover_by_the_clock_seconds": 4.0,
        "longest_pause_seconds": 0.5,
        "longest_between_looks_seconds": 0.5,
    }


def test_the_looks_of_all_are_read_from_one_file(tmp_path: Path) -> None:
    assert looks_of(tmp_path / "looks") == {}
    (tmp_path / "looks").write_text("host-7 1.5\nhost-8 1.75\nhost-7 2.0\n")
    assert looks_of(tmp_path / "looks") == {"host-7": [1.5, 2.0], "host-8": [1.75]}


def test_the_platforms_stream_is_read_as_calls(tmp_path: Path) -> None:
    stream = Stream(tmp_path / "stream")
    for id_ in (1, 2):
        stream.add(id=id_, at=float(id_), target="web", name="local.restart", key=f"run{id_}:do:cid:0:0")
    stream.add(id=2, at=3.0, did=True)
    stream.close()
    assert calls_of(tmp_path / "stream") == [
        Call("web", "local.restart", 1.0, None, None, "run1:do:cid:0:0"),
        Call("web", "local.restart", 2.0, 3.0, True, "run2:do:cid:0:0"),
    ]


def test_a_seed_gives_the_same_alerts_and_faults_again() -> None:
    def drawn(seed: int) -> tuple[object, object]:
        plan = faults.plan(seed, 3, 3.0)
        return senders.plan(seed, 20, 5, 4.0), [next(plan) for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
