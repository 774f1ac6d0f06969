"""What later calls take from the results of earlier ones: shown before, filled in and judged when it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from uici.model.base import JsonObject, JsonValue
from uici.model.call import SELECTION_KEY, Call, CallSpec, Risk
from uici.model.condition import Condition
from uici.model.errors import Problem, ProblemKind
from uici.model.parameters import check_value, kinds_at
from uici.model.plan import PreparedReading, PreparedStep
from uici.model.selecting import SelectionError, SelectionSyntaxError, selector

Classify = Callable[[str, JsonObject], tuple[bool, Risk]]


def resolve_selections(arguments: JsonValue, results: Mapping[str, JsonValue]) -> JsonValue:
    """`arguments` with each selection replaced by what the earlier calls' `results`, by call id, hold.

    Raises Problem (UNPROCESSABLE, `selection_missing`, `selection_ambiguous` or `selection_unfit`) when a result does
    not hold exactly one such value: the call cannot be built, so it is not sent.
    """
    if isinstance(arguments, dict):
        path = _selection(arguments)
        if path is not None:
            return _selected(path, results)
        return {key: resolve_selections(value, results) for key, value in arguments.items()}
    if isinstance(arguments, list | tuple):
        return [resolve_selections(value, results) for value in arguments]
    return arguments


def complete(call: Call, results: Mapping[str, JsonValue], spec: CallSpec, classify: Classify) -> Call:
    """`call` with its selections filled in, judged anew with what they turned out to be.

    Raises Problem (UNPROCESSABLE) as `resolve_selections`, and `selection_unfit` when a value does not satisfy the
    call's schema, or would make of the call another than the one that was shown and guarded. No value is repeated.
    """
    changed: dict[str, Any] = {}
    if call.poll is not None:
        until = [_filled(condition, results) for condition in call.poll.until]
        changed["poll"] = call.poll.model_copy(update={"until": tuple(until)})
    places = dict(selections_in(call.arguments))
    if places:
        arguments: JsonObject = resolve_selections(call.arguments, results)
        changed["arguments"] = arguments
        wrong = check_value(spec.arguments, arguments, hidden=True)
        if wrong:
            shown = "; ".join(f"argument {problem}" for problem in wrong)
            raise _unfit(call, places, shown)
        mutates, risk = classify(call.name, arguments)
        if (mutates and not call.mutates) or risk.rank > call.risk.rank:
            raise _unfit(call, places, "it would be another call than the one that was planned: one that does more")
    return call.model_copy(update=changed)


def selections_in(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every selection in `value`: where it stands, and what it selects."""
    if isinstance(value, dict):
        selection = _selection(value)
        if selection is not None:
            yield path, selection
            return
        for key, item in value.items():
            yield from selections_in(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from selections_in(item, (*path, index))


def shown_selections(arguments: JsonObject, spec: CallSpec) -> tuple[JsonObject, ...]:
    """For people: which argument is selected from where, and of which kind it must be."""
    return tuple(
        {"argument": ".".join(map(str, path)), "from": selection, "kind": " or ".join(kinds_at(spec.arguments, path))}
        for path, selection in selections_in(arguments)
    )


def operation_result(step: PreparedStep | PreparedReading, results: Mapping[str, JsonValue]) -> JsonObject:
    """The operation's result from its calls' results: the declared one, else the last call's. Absent parts are null."""
    if step.result is not None:
        return {name: _selected_or_null(value, results) for name, value in step.result.items()}
    last = results.get(step.calls[-1].id) if step.calls else None
    return dict(last) if isinstance(last, dict) else {}


def _selection(value: JsonObject) -> str | None:
    path = value.get(SELECTION_KEY)
    return path if len(value) == 1 and isinstance(path, str) else None


def _selected(path: str, results: Mapping[str, JsonValue]) -> JsonValue:
    try:
        value = selector(path).of({"calls": dict(results)})
    except SelectionError as error:
        code, why = error.code, str(error)
    except SelectionSyntaxError as error:
        code, why = "selection_unfit", str(error)
    else:
        if value is not None:
            return value
        code, why = "selection_missing", "it is null"
    shown = "nothing" if code == "selection_missing" else "no one value"
    raise Problem(
        ProblemKind.UNPROCESSABLE,
        code,
        f"the earlier result has {shown} at {path!r}, so the call that needs it cannot be made: {why}",
        where=path,
    )


def _filled(condition: Condition, results: Mapping[str, JsonValue]) -> Condition:
    written = {name: getattr(condition, name) for name in condition.model_fields_set}
    return Condition(**{name: resolve_selections(value, results) for name, value in written.items()})


def _unfit(call: Call, places: Mapping[tuple[str | int, ...], str], why: str) -> Problem:
    selected = ", ".join(places.values())
    return Problem(
        ProblemKind.UNPROCESSABLE,
        "selection_unfit",
        f"{call.name}: what {selected} turned out to be does not fit, so the call was not sent: {why}",
        where=next(iter(places.values())),
    )


def _selected_or_null(value: JsonValue, results: Mapping[str, JsonValue]) -> JsonValue:
    if isinstance(value, dict):
        path = _selection(value)
        if path is not None:
            try:
                return selector(path).of({"calls": dict(results)})
            except SelectionError:
                return None
        return {key: _selected_or_null(item, results) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_selected_or_null(item, results) for item in value]
    return value
