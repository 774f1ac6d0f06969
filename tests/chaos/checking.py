"""What a history must not show. Each rule is a function from a history to the violations that it finds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import Absence, Call, Held, History, longest
from uici.model.alert import AlertOutcome
from uici.runs.data import RunState
from uici.runs.records import DONE, NOT_DONE, PROVED


@dataclass(frozen=True)
class Bounds:
    """Within what the promises hold."""

    freeze_seconds: float
    """A mutation may begin so long after the freeze's 200: it was announced before."""
    takeover_seconds: float
    """What a dead worker held is another's, or free, so long after another could look without a break."""


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
    for begin, late in _after_freezes(history):
        if late > bounds.freeze_seconds:
            yield f"a mutation began at {begin:.3f}, {late:.3f} s after the freeze was answered"


def no_lock_outlives_its_holder(history: History, bounds: Bounds) -> Found:
    """No slot is held by a run that has ended; none by a dead worker for longer than the bound."""
    for held in history.held:
        if held.slot and held.state == RunState.ENDED:
            yield f"at {held.at:.3f} the ended {held.run} held a slot"
    for held, seconds in _after_absences(history):
        if seconds > bounds.takeover_seconds:
            yield f"at {held.at:.3f} {held.run} was still of {held.worker}, which was gone for {seconds:.1f} s"
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


def measured(history: History) -> dict[str, float]:
    """How near the history came to its bounds."""
    return {
        "freeze_seconds": round(longest(late for _, late in _after_freezes(history)), 3),
        "takeover_seconds": round(longest(seconds for _, seconds in _after_absences(history)), 3),
    }


def _by_key(history: History) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(history.calls, key=lambda call: call.begin):
        if call.key is not None:
            found[call.key].append(call)
    return found


def _after_freezes(history: History) -> Iterator[tuple[float, float]]:
    """Mutations that began while all was frozen, with how long after the answer."""
    for call in history.calls:
        for freeze in history.freezes:
            if freeze.answered < call.begin < freeze.lifted:
                yield call.begin, call.begin - freeze.answered


def _after_absences(history: History) -> Iterator[tuple[Held, float]]:
    """Runs that were of an absent worker, with how long somebody could have taken them over by then."""
    of_worker: dict[str, list[Absence]] = defaultdict(list)
    for absence in history.absences:
        of_worker[absence.worker].append(absence)
    for held in history.held:
        if held.worker is None or held.state != RunState.ACTIVE:
            continue
        for absence in of_worker.get(held.worker, ()):
            if absence.begin <= held.at and (absence.end is None or held.at <= absence.end):
                yield held, _could_look(history, absence.begin, held.at)


def _could_look(history: History, since: float, at: float) -> float:
    """For how long one and the same replica could look without a break, up to that moment."""
    return longest(at - max(watch.begin, since) for watch in history.watches if watch.begin <= at <= watch.end)
