"""What the platform itself says of the calls of a preview. It is asked for a time only; an answer that does not come
degrades this part of the preview and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from enum import StrEnum

from uici.model.base import JsonObject, JsonValue
from uici.model.call import Call, CallError
from uici.model.errors import Problem
from uici.model.masking import mask
from uici.model.plan import PreparedPlan, PreparedStep
from uici.model.rehearsal import ObjectChange, Rehearsal
from uici.runs.services import Services
from uici.translation.translating import has_selection

REFUSED_BY_PLATFORM = "would be refused by the platform"

_WOULD_SEND = frozenset({"would run", "would wait for approval", "would wait for its turn"})
_MOST_CHANGES = 500
_LONGEST_TEXT = 4096


class Answered(StrEnum):
    """How the platform answered."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_ANSWERS = {True: Answered.ACCEPTED, False: Answered.REFUSED, None: Answered.UNKNOWN}


def with_rehearsals(services: Services, plan: PreparedPlan, shown: JsonObject) -> JsonObject:
    """A preview with the platform's answer for each call that changes something and would be sent."""
    seconds = services.site().platform.runs.rehearsal_seconds
    if not services.rehearses or seconds == 0 or shown["outcome"] not in _WOULD_SEND:
        return shown
    answers = _Rehearsals(services, plan, seconds).all()
    steps = [
        step | {"calls": [call | {"rehearsal": answers.get((at, call["id"]))} for call in step["calls"]]}
        for at, step in enumerate(shown["steps"])
    ]
    notes = list(_notes(answers))
    refused = any(answer is not None and answer["answer"] == Answered.REFUSED for answer in answers.values())
    outcome = REFUSED_BY_PLATFORM if refused else shown["outcome"]
    return shown | {"steps": steps, "outcome": outcome, "notes": [*shown["notes"], *notes]}


class _Rehearsals:
    """All calls of one plan, asked one after the other beside the thread that waits for them."""

    def __init__(self, services: Services, plan: PreparedPlan, seconds: float) -> None:
        self._services = services
        self._plan = plan
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._answers: dict[tuple[int, str], JsonObject | None] = {}
        self._ended = threading.Event()

    def all(self) -> dict[tuple[int, str], JsonObject | None]:
        wanted = [
            (at, call)
            for at, step in enumerate(self._plan.steps)
            if self._can_be_asked(step)
            for call in step.calls
            if call.mutates
        ]
        if not wanted:
            return {}
        # A platform's client may hang beyond every limit that it was given; nobody waits for this thread then.
        threading.Thread(target=self._ask_all, args=(wanted,), name="rehearsal", daemon=True).start()
        self._ended.wait(self._seconds)
        known = dict(self._answers)
        late = _unknown(f"the platform did not answer within {self._seconds:g} s")
        return {(at, call.id): known.get((at, call.id), late) for at, call in wanted}

    def _can_be_asked(self, step: PreparedStep) -> bool:
        try:
            return self._services.platforms.performer(self._plan.plan.environment, step).rehearses
        except (CallError, Problem):
            return True  # whoever asks is told why there is no answer

    def _ask_all(self, wanted: list[tuple[int, Call]]) -> None:
        try:
            for at, call in wanted:
                left = self._until - time.monotonic()
                if left <= 0:
                    return
                self._answers[at, call.id] = self._ask(at, call, left)
        finally:
            self._ended.set()

    def _ask(self, at: int, call: Call, left: float) -> JsonObject | None:
        if has_selection(call.arguments):
            return _unknown("not asked: it takes values from an earlier call's result")
        step = self._plan.steps[at]
        bounded = call.model_copy(update={"timeout_seconds": min(call.timeout_seconds, left)})
        try:
            performer = self._services.platforms.performer(self._plan.plan.environment, step)
            found = performer.rehearse(bounded)
        except (CallError, Problem) as error:
            return _unknown(f"the platform could not be asked: {error}")
        return None if found is None else _shown(found)


def _shown(found: Rehearsal) -> JsonObject:
    more = len(found.changes) - _MOST_CHANGES
    warnings = [*found.warnings, *([f"{more} more changes are not shown"] if more > 0 else [])]
    return {
        "answer": _ANSWERS[found.accepted],
        "code": found.code,
        "reason": mask(found.reason),
        "changes": [_change(change) for change in found.changes[:_MOST_CHANGES]],
        "warnings": mask(warnings),
    }


def _change(change: ObjectChange) -> JsonObject:
    # Masked under the field's own name: that of the member, `now`, tells nothing.
    return {
        "object": change.object,
        "field": change.field,
        "now": _bounded(mask({change.field: change.now})[change.field]),
        "after": _bounded(mask({change.field: change.after})[change.field]),
    }


def _bounded(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return value[:_LONGEST_TEXT] + "…"
    return value


def _unknown(reason: str) -> JsonObject:
    return {"answer": Answered.UNKNOWN, "code": "", "reason": mask(reason), "changes": [], "warnings": []}


def _notes(answers: dict[tuple[int, str], JsonObject | None]) -> Iterator[str]:
    told = [answer for answer in answers.values() if answer is not None]
    for (at, call), answer in answers.items():
        if answer is not None and answer["answer"] == Answered.REFUSED:
            yield f"step {at + 1}, call {call}: the platform refuses it: {answer['reason']}"
    if len(told) > 1:
        yield "the platform was asked about each call by itself, as things are now: no call saw what those before it do"
