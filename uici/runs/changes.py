"""What a mutating step would change on its target: the state now, and after it as far as that can be known; and what
one has changed.

Only what an operation's definition says is told: what it keeps before a change and restores (`before`, `inverse`), and
what it wants to see afterwards (`verification`). What nobody can know beforehand is named as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from uici.model.base import Frozen, JsonObject, JsonValue, canonical_json
from uici.model.call import CallError
from uici.model.condition import select
from uici.model.errors import Problem
from uici.model.incident import Observation
from uici.model.masking import mask
from uici.model.plan import PreparedPlan, PreparedReading, PreparedStep
from uici.model.references import reference_in
from uici.runs.services import Services
from uici.translation.undoing import WHEN_NONE


class Effect(StrEnum):
    """What becomes of a field."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNKNOWN = "unknown"


class FieldChange(Frozen):
    """One field of the target. `after` says nothing where the effect is unknown; `why` tells why it is."""

    field: str
    now: JsonValue
    after: JsonValue
    effect: Effect
    why: str = ""


class _Missing:
    """A value that is not known."""


_UNKNOWN = _Missing()


def changes_of(
    services: Services, plan: PreparedPlan, observations: Iterable[Observation] = ()
) -> list[list[JsonObject] | None]:
    """For each step the fields that it would change, masked; None for a step that only reads. Needs reads only.

    What the diagnosis has just observed of the plan's target is not looked at once more.
    """
    return _Comparison(services, plan, observations).all()


def difference(before: JsonObject, now: JsonObject) -> JsonObject:
    """Which of the values kept `before` are others `now`, with both; of a mapping, which of its entries."""
    changed: JsonObject = {}
    for name, value in before.items():
        present = now.get(name)
        if isinstance(value, dict) and isinstance(present, dict):
            pairs = {f"{name}.{key}": (value.get(key), present.get(key)) for key in sorted({*value, *present})}
        else:
            pairs = {name: (value, present)}
        changed |= {at: {"before": old, "now": new} for at, (old, new) in pairs.items() if old != new}
    return changed


class _Comparison:
    """One look at the target for all steps; each step begins where the one before it ends."""

    def __init__(self, services: Services, plan: PreparedPlan, observations: Iterable[Observation]) -> None:
        self._services = services
        self._plan = plan
        target = plan.steps[0].step.target
        self._seen: dict[str, JsonObject | str] = {
            _key(target, item.operation, item.parameters, None): item.result
            for item in observations
            if item.result is not None
        }
        self._left: dict[tuple[str, str], JsonValue | _Missing] = {}
        """What earlier steps leave behind: (target, field) -> value."""

    def all(self) -> list[list[JsonObject] | None]:
        found: list[list[JsonObject] | None] = []
        for step in self._plan.steps:
            mutates = any(call.mutates for call in step.calls)
            found.append([change.model_dump(mode="json") for change in self._of(step)] if mutates else None)
        return found

    def _of(self, step: PreparedStep) -> list[FieldChange]:
        changes = self._kept(step) + self._wanted(step)
        if any(change.effect is not Effect.UNCHANGED for change in changes):
            return changes
        why = f"{step.operation.name} does not say what it changes" + (" beside this" if changes else "")
        return [*changes, FieldChange(field="the target", now=None, after=None, effect=Effect.UNKNOWN, why=why)]

    def _kept(self, step: PreparedStep) -> list[FieldChange]:
        """Configuration: what is kept before the change, and given by the step's parameters."""
        before = step.operation.before
        if before is None:
            return []
        changes: list[FieldChange] = []
        for name, path in before.keep.items():
            now = self._now(step, before.read, before.parameters, step.before, path)
            after = self._after(step, name, now)
            changes += self._compared(step, path, now, after)
        return changes

    def _wanted(self, step: PreparedStep) -> list[FieldChange]:
        """Run state: what the operation wants to see afterwards."""
        check = step.operation.verification
        if check is None:
            return []
        changes: list[FieldChange] = []
        for condition in check.expect:
            now = self._now(step, check.read, check.parameters, step.verification, condition.field)
            if "equals" in condition.model_fields_set:
                changes += self._compared(step, condition.field, now, condition.equals)
            else:
                changes += self._compared(step, condition.field, now, _UNKNOWN, f"wanted: {condition.describe()}")
        return changes

    def _now(
        self, step: PreparedStep, read: str | None, parameters: JsonObject, reading: PreparedReading | None, path: str
    ) -> JsonValue | _Missing:
        target = step.step.target
        if (target, path) in self._left:
            return self._left[target, path]
        seen = self._look(step, read, parameters, reading)
        return _UNKNOWN if isinstance(seen, str) else select(seen, path)

    def _look(
        self, step: PreparedStep, read: str | None, parameters: JsonObject, reading: PreparedReading | None
    ) -> JsonObject | str:
        target, environment = step.step.target, self._plan.plan.environment
        key = _key(target, read, parameters, reading)
        if key not in self._seen:
            platforms = self._services.platforms
            try:
                if read is not None:
                    self._seen[key] = platforms.read(environment, target, read, parameters)
                else:
                    self._seen[key] = platforms.perform_reads(environment, step, reading)
            except (CallError, Problem) as error:
                self._seen[key] = f"{read or 'the look beforehand'} could not be performed: {error}"
        return self._seen[key]

    def _after(self, step: PreparedStep, kept: str, now: JsonValue | _Missing) -> JsonValue | _Missing:
        """The value of what is kept, once the step is done.

        A parameter which the inverse fills with what was kept is what the step itself sets.
        """
        inverse, given = step.operation.inverse, step.step.parameters
        if inverse is None or inverse.operation != step.operation.name:
            return _UNKNOWN
        sets = [name for name, value in inverse.parameters.items() if _refers(value, "before", kept)]
        removes = [name for name, value in inverse.parameters.items() if _refers(value, "added", kept)]
        if not sets:
            return _UNKNOWN
        if sets[0] not in given:
            return now
        value = given[sets[0]]
        if isinstance(value, dict) and removes:
            if not isinstance(now, dict):
                return _UNKNOWN
            gone = {name for parameter in removes for name in given.get(parameter) or ()}
            return {name: item for name, item in (now | value).items() if name not in gone}
        none = step.operation.parameters.get(sets[0], {}).get(WHEN_NONE, _UNKNOWN)
        return None if value == none else value

    def _compared(
        self, step: PreparedStep, path: str, now: JsonValue | _Missing, after: JsonValue | _Missing, why: str = ""
    ) -> list[FieldChange]:
        self._left[step.step.target, path] = after
        if isinstance(now, dict) and isinstance(after, dict):
            shown_now, shown_after = mask(now), mask(after)
            return [
                _field(f"{path}.{name}", (now.get(name), shown_now.get(name)), (after.get(name), shown_after.get(name)))
                for name in sorted(now.keys() | after.keys())
                if now.get(name) != after.get(name)
            ] or [FieldChange(field=path, now=None, after=None, effect=Effect.UNCHANGED)]
        if isinstance(after, _Missing):
            why = why or "it shows only once the step is done"
            shown = None if isinstance(now, _Missing) else mask({path: now})[path]
            return [FieldChange(field=path, now=shown, after=None, effect=Effect.UNKNOWN, why=why)]
        shown_after = mask({path: after})[path]
        if isinstance(now, _Missing):
            told = next(
                (text for text in self._seen.values() if isinstance(text, str)), "it is not known what it is now"
            )
            return [FieldChange(field=path, now=None, after=shown_after, effect=Effect.UNKNOWN, why=mask(told))]
        return [_field(path, (now, mask({path: now})[path]), (after, shown_after))]


def _key(target: str, read: str | None, parameters: JsonObject, reading: PreparedReading | None) -> str:
    calls = "" if reading is None else canonical_json([call.model_dump(mode="json") for call in reading.calls])
    return f"{target}/{read}/{parameters}/{calls}"


def _field(path: str, now: tuple[JsonValue, JsonValue], after: tuple[JsonValue, JsonValue]) -> FieldChange:
    """Compared by the values, shown masked: a new secret is a change although both are shown alike."""
    effect = Effect.UNCHANGED if now[0] == after[0] else Effect.CHANGED
    return FieldChange(field=path, now=now[1], after=after[1], effect=effect)


def _refers(value: JsonValue, root: str, kept: str) -> bool:
    reference = reference_in(value) if isinstance(value, str) else None
    return reference is not None and reference.root == root and reference.path == (kept,)
