"""What a history must not show. Each rule is a function from a history to the violations that it finds."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import Absence, Call, Freeze, Held, History, longest
from uici.model.alert import AlertOutcome
from uici.runs.data import RunState
from uici.runs.records import DONE, NOT_DONE, PROVED


@dataclass(frozen=True)
class Bounds:
    """Within what the promises hold."""

    freeze_seconds: float
    """A mutation may begin so long after the freeze's 200, pauses aside: it was announced before."""
    takeover_seconds: float
    """What a dead worker held is another's, or free, after so long as one other counts in its looks."""
    look_seconds: float
    """Between two looks no more than that is counted."""


@dataclass(frozen=True)
class Violation:
    """A rule, and what broke it."""

    rule: str
    what: str


Found = Iterator[str]
Rule = Callable[[History, Bounds], Found]


def violations(history: History, bounds: Bounds) -> list[Violation]:
    """All violations, by rule."""
    return [Violation(name, what) for name, rule in RULES.items() for what in rule(history, bounds)]


def one_terminal_state(history: History, bounds: Bounds) -> Found:
    """Every accepted alert ends in exactly one terminal state, and the API says the same as the state."""
    rows = {(row.fingerprint, row.starts_at): row for row in history.alerts}
    incidents = {row.id: row for row in history.incidents}
    for occurrence in sorted({(item.fingerprint, item.starts_at) for item in history.accepted}):
        row = rows.get(occurrence)
        if row is None:
            yield f"alert {occurrence} was accepted and is not in the state"
        elif row.outcome not in set(AlertOutcome):
            yield f"alert {occurrence} of {row.incident} was accepted and has the outcome {row.outcome}"
        elif row.incident is not None and incidents[row.incident].state != "closed":
            yield f"alert {occurrence} ended as {row.outcome}, and its incident {row.incident} is not closed"
    for incident in history.incidents:
        if incident.state == "closed" and incident.shown != incident.outcome:
            yield f"{incident.id} ended as {incident.outcome}, and the API shows {incident.shown}"


def one_end_of_a_run(history: History, bounds: Bounds) -> Found:
    """Every run ends once, and an incident has one run."""
    for run in history.runs:
        if run.state != RunState.ENDED:
            yield f"{run.id} never ended: it is {run.state}"
        elif run.endings != 1 or run.outcome is None:
            yield f"{run.id} ended {run.endings} times, as {run.outcome}"
    of_incident = Counter(run.incident for run in history.runs if run.incident is not None)
    for incident, count in of_incident.items():
        if count > 1:
            yield f"{incident} has {count} runs"


def nothing_sent_twice(history: History, bounds: Bounds) -> Found:
    """No mutating call is sent for a step that was sent before, unless that was proved not to have happened."""
    announced = defaultdict(list)
    for attempt in sorted(history.attempts, key=lambda attempt: attempt.number):
        announced[attempt.key].append(attempt.outcome)
    for key, sent in _by_key(history).items():
        outcomes = announced.get(key, [])
        if len(sent) > len(outcomes):
            yield f"{key}: sent {len(sent)} times, announced {len(outcomes)} times"
        for first, second in pairwise(sent):
            if first.did is not False:
                yield f"{key}: sent at {first.begin:.3f} and done ({first.did}), and sent again at {second.begin:.3f}"
            elif first.end is None or first.end > second.begin:
                yield f"{key}: sent again at {second.begin:.3f}, before the first had ended"
    for key, outcomes in announced.items():
        for outcome in outcomes[:-1]:
            if outcome != NOT_DONE:
                yield f"{key}: announced again after an attempt that ended as {outcome}"


def what_is_believed_is_true(history: History, bounds: Bounds) -> Found:
    """A call that the state calls done was done, one that it calls not done was not."""
    did = {key: any(call.did is not False for call in sent) for key, sent in _by_key(history).items()}
    keyed = all(call.key is not None for call in history.calls)
    outcomes = defaultdict(set)
    for attempt in history.attempts:
        outcomes[attempt.key].add(attempt.outcome)
    for key, seen in outcomes.items() if keyed else ():
        done = bool(seen & {DONE, PROVED})
        if done and not did.get(key, False):
            yield f"{key}: the state says that it was done ({seen}), the platform that it was not"
        if seen == {NOT_DONE} and did.get(key, False):
            yield f"{key}: the state says that it was not done, the platform that it was"


def starts_are_accounted_for(history: History, bounds: Bounds) -> Found:
    """Where services themselves count their starts: as many as calls were done, and no more than may have been."""
    for target, starts in history.starts.items():
        outcomes = [attempt.outcome for attempt in history.attempts if attempt.target == target]
        done = sum(outcome in (DONE, PROVED) for outcome in outcomes)
        possible = sum(outcome != NOT_DONE for outcome in outcomes)
        if not done <= starts <= possible:
            yield f"{target} was started {starts} times; {done} calls are known as done, {possible} may be"
        sent = sum(call.target == target for call in history.calls)
        if sent > len(outcomes):
            yield f"{target}: {sent} calls were sent, {len(outcomes)} announced"


def one_mutation_at_a_time(history: History, bounds: Bounds) -> Found:
    """Never two mutations at once on one target."""
    by_target: dict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        by_target[call.target].append(call)
    for target, calls in by_target.items():
        for first, second in pairwise(sorted(calls, key=lambda call: call.begin)):
            if first.end is None or second.begin < first.end:
                yield (
                    f"{target}: {second.name} ({second.key}) began at {second.begin:.3f}, "
                    f"while {first.name} ({first.key}) of {first.begin:.3f} was under way until {first.end}"
                )


def the_freeze_is_honoured(history: History, bounds: Bounds) -> Found:
    """No mutation begins later than the bound after the freeze's 200."""
    for freeze, begin in _after_freezes(history):
        late, paused = begin - freeze.answered, _paused(history, freeze.answered, begin)
        if late > bounds.freeze_seconds + paused:
            yield f"a mutation began at {begin:.3f}, {late:.3f} s after the freeze, of which {paused:.3f} s are pauses"


def no_lock_outlives_its_holder(history: History, bounds: Bounds) -> Found:
    """No slot is held by a run that has ended; none by a dead worker for longer than the bound."""
    for held in history.held:
        if held.slot and held.state == RunState.ENDED:
            yield f"at {held.at:.3f} the ended {held.run} held a slot"
    for held, absence in _after_absences(history):
        counted = _counted(history, bounds, absence.begin, held.at)
        if counted > bounds.takeover_seconds:
            gone = f"gone for {held.at - absence.begin:.1f} s, of which another counted {counted:.1f}"
            yield f"at {held.at:.3f} {held.run} was still of {held.worker}, which was {gone}"
    for target in history.slots_held:
        yield f"the slot of {target} is held at the end"


RULES: dict[str, Rule] = {
    "one_terminal_state": one_terminal_state,
    "one_end_of_a_run": one_end_of_a_run,
    "nothing_sent_twice": nothing_sent_twice,
    "what_is_believed_is_true": what_is_believed_is_true,
    "starts_are_accounted_for": starts_are_accounted_for,
    "one_mutation_at_a_time": one_mutation_at_a_time,
    "the_freeze_is_honoured": the_freeze_is_honoured,
    "no_lock_outlives_its_holder": no_lock_outlives_its_holder,
}


def measured(history: History, bounds: Bounds) -> dict[str, float]:
    """How near the history came to its bounds, and how busy the machine was."""
    absent = list(_after_absences(history))
    pauses = [pause.end - pause.begin for pause in history.pauses]
    looks = [after - before for looks in history.looks.values() for before, after in pairwise(looks)]
    return {
        "freeze_seconds": _rounded(begin - freeze.answered for freeze, begin in _after_freezes(history)),
        "takeover_seconds": _rounded(_counted(history, bounds, absence.begin, held.at) for held, absence in absent),
        "takeover_by_the_clock_seconds": _rounded(held.at - absence.begin for held, absence in absent),
        "longest_pause_seconds": _rounded(pauses),
        "longest_between_looks_seconds": _rounded(looks),
    }


def freezes_met(history: History) -> dict[str, int]:
    """How often all was frozen, how often while changes were on their way, and how many of these there were."""
    met = [[call for call in history.calls if _on_its_way(call, freeze)] for freeze in history.freezes]
    return {
        "freezes": len(met),
        "freezes_with_calls_on_their_way": sum(bool(calls) for calls in met),
        "calls_on_their_way": sum(len(calls) for calls in met),
        "begun_after_the_answer": len(list(_after_freezes(history))),
    }


def _on_its_way(call: Call, freeze: Freeze) -> bool:
    """Whether it was at the platform when the freeze was answered, or came there after that."""
    return call.begin < freeze.lifted and (call.end is None or call.end > freeze.answered)


def _rounded(values: Iterable[float]) -> float:
    return round(longest(values), 3)


def _paused(history: History, begin: float, end: float) -> float:
    return sum(max(0.0, min(pause.end, end) - max(pause.begin, begin)) for pause in history.pauses)


def _by_key(history: History) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(history.calls, key=lambda call: call.begin):
        if call.key is not None:
            found[call.key].append(call)
    return found


def _after_freezes(history: History) -> Iterator[tuple[Freeze, float]]:
    """Mutations that began while all was frozen."""
    for call in history.calls:
        for freeze in history.freezes:
            if freeze.answered < call.begin < freeze.lifted:
                yield freeze, call.begin


def _after_absences(history: History) -> Iterator[tuple[Held, Absence]]:
    """Runs that were of a worker while that was absent."""
    of_worker: dict[str, list[Absence]] = defaultdict(list)
    for absence in history.absences:
        of_worker[absence.worker].append(absence)
    for held in history.held:
        if held.worker is None or held.state != RunState.ACTIVE:
            continue
        for absence in of_worker.get(held.worker, ()):
            if absence.begin <= held.at and (absence.end is None or held.at <= absence.end):
                yield held, absence


def _counted(history: History, bounds: Bounds, since: float, at: float) -> float:
    """For how long a replica takes another for silent, at the most of all: a pause between looks counts little."""
    return longest(
        sum(
            min(after - before, bounds.look_seconds)
            for before, after in pairwise(looks[bisect_left(looks, since) : bisect_right(looks, at)])
        )
        for looks in history.looks.values()
    )
