"""Advice about verbs: what is allowed, but will be regretted. `uici operations lint` shows it as warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from uici.catalogue.diagnostics import Diagnostic, Report
from uici.catalogue.draft import Verb
from uici.model.base import JsonObject
from uici.model.builtin import classify_builtin
from uici.model.call import CallError
from uici.model.operation import BUILTIN, Operation
from uici.ports import Executor

ADVICE: Mapping[str, str] = {
    "mutating_without_verification": "nothing proves at once that a change had its effect",
    "platform_without_test": "a translation that no test of the verb's file covers",
    "parameter_without_description": "people and planners must guess what it means",
    "text_without_bounds": "a text parameter without enum, pattern or maxLength accepts anything",
    "number_without_bounds": "a number parameter without minimum and maximum accepts anything",
    "risk_below_calls": "the operation's risk is below that of a call that it makes",
    "result_not_declared": "a read-only operation without returns: mistyped fields in conditions are not found",
}
"""Every code of advice, with why."""


def advise(verbs: Iterable[Verb], executors: Mapping[str, type[Executor]]) -> list[Diagnostic]:
    """Advice about the sound ones of `verbs`."""
    report = Report()
    for verb in verbs:
        if verb.operation is not None:
            _effect(report, verb, verb.operation)
            _parameters(report, verb, verb.operation)
            _translations(report, verb, verb.operation, executors)
    return sorted(report)


def _effect(report: Report, verb: Verb, operation: Operation) -> None:
    if operation.mutates and operation.verification is None:
        report.add(
            verb.key,
            "mutating_without_verification",
            f"{verb.name} changes something, but has no verification: whether it worked is only seen by the "
            "target's health",
        )
    if not operation.mutates and not operation.returns and BUILTIN not in operation.translations:
        report.add(
            verb.key, "result_not_declared", f"{verb.name} reads, but declares no returns: conditions cannot be checked"
        )


def _parameters(report: Report, verb: Verb, operation: Operation) -> None:
    for name, schema in operation.parameters.items():
        problems = []
        if not schema.get("description"):
            problems.append(("parameter_without_description", "has no description"))
        kinds = schema.get("type")
        kinds = set(kinds) if isinstance(kinds, list) else {kinds}
        closed = "enum" in schema or "const" in schema
        if "string" in kinds and not closed and not {"pattern", "maxLength"} & schema.keys():
            problems.append(("text_without_bounds", "accepts any text; give it an enum, a pattern or a maxLength"))
        if {"integer", "number"} & kinds and not closed and not _bounded(schema):
            problems.append(("number_without_bounds", "accepts any number; give it a minimum and a maximum"))
        for code, text in problems:
            position = verb.node().key_position("parameters", name)
            report.add(position, code, f"the parameter {name!r} of {verb.name} {text}")


def _bounded(schema: JsonObject) -> bool:
    return all({f"{end}imum", f"exclusive{end.capitalize()}imum"} & schema.keys() for end in ("min", "max"))


def _translations(report: Report, verb: Verb, operation: Operation, executors: Mapping[str, type[Executor]]) -> None:
    tested = {test.platform for test in verb.tests}
    for platform, translation in operation.translations.items():
        position = verb.translations.get(platform, verb.key)
        if translation.unsupported is not None:
            continue
        if verb.tests and platform not in tested:
            report.add(
                position, "platform_without_test", f"{verb.name} has no test of its translation for {platform!r}"
            )
        executor = executors.get(platform)
        classify = classify_builtin if platform == BUILTIN else executor.classify if executor is not None else None
        if classify is None:
            continue
        for template in translation.calls:
            try:
                _, risk = classify(template.call, template.arguments)
            except CallError:
                continue  # an unknown call is a problem, which the catalogue reports
            risk = max(risk, template.risk or risk, key=lambda level: level.rank)
            if operation.risk.rank < risk.rank:
                report.add(
                    position,
                    "risk_below_calls",
                    f"{verb.name} has the risk {operation.risk.value}, but {template.call} for {platform!r} has "
                    f"{risk.value}; the higher one counts, so say it",
                )
