"""Stage three for translations: what they call exists, fits, and is no riskier than the operation admits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from uici.catalogue.diagnostics import Position, Report
from uici.catalogue.draft import KNOWN_PLATFORMS, add_value_problem, call_specs, check_texts, or_empty, refers
from uici.catalogue.reading import Node
from uici.model.base import JsonObject
from uici.model.builtin import classify_builtin
from uici.model.call import CallError, CallSpec, Risk
from uici.model.operation import BUILTIN, CallTemplate, Operation, Translation
from uici.model.parameters import check_value
from uici.model.references import Reference, reference_in
from uici.model.site import VerbTest
from uici.ports import Executor

Classify: TypeAlias = Callable[[str, JsonObject], tuple[bool, Risk]]

ROOTS = ("parameters", "target", "calls")


def check_translations(
    report: Report,
    operation: Operation,
    written: Mapping[str, tuple[Position, Node]],
    executors: Mapping[str, type[Executor]],
) -> None:
    """Report whatever is wrong with an operation's translations.

    `written` holds for each platform where the translation's key stands and the translation, sound or not.
    """
    known = {*KNOWN_PLATFORMS, *executors, BUILTIN}
    for platform in sorted(written.keys() - known):
        report.add(
            written[platform][0],
            "unknown_platform",
            f"{operation.name} is translated for {platform!r}, which is no platform",
            choices=sorted(known),
            given=platform,
        )
    if BUILTIN in written and len(written) > 1:
        report.add(
            written[BUILTIN][0],
            "builtin_and_platform",
            f"{operation.name} is built in, so it takes no translation for a platform",
        )
    for platform, translation in operation.translations.items():
        _translation(report, operation, platform, translation, written[platform][1], executors)


def _translation(
    report: Report,
    operation: Operation,
    platform: str,
    translation: Translation,
    node: Node,
    executors: Mapping[str, type[Executor]],
) -> None:
    specs = call_specs(executors, platform)
    earlier: dict[str, CallSpec | None] = {}
    for index, template in enumerate(translation.calls):
        place = node.at("calls", index)
        spec = specs.get(template.call) if specs is not None else None
        if specs is not None and spec is None:
            report.add(
                place.at("call").position,
                "unknown_call",
                f"{platform} has no call {template.call!r}",
                choices=tuple(specs),
                given=template.call,
            )
        arguments = or_empty(place, "arguments")
        _references(report, operation, arguments, earlier)
        if spec is not None:
            _arguments(report, operation, template, spec, arguments)
            classify = classify_builtin if platform == BUILTIN else executors[platform].classify
            _risk(report, operation, classify, template, place)
        if template.id is not None:
            if template.id in earlier:
                report.add(place.at("id").position, "duplicate_id", f"two calls have the id {template.id!r}")
            earlier[template.id] = spec
    result = node.mapping.get("result")
    if result is not None:
        _references(report, operation, result, earlier)


def _references(report: Report, operation: Operation, node: Node, earlier: Mapping[str, CallSpec | None]) -> None:
    if not check_texts(report, node, ROOTS):
        return
    listed = {id(item) for part in node.walk() for item in part.items}
    for part in node.walk():
        reference = reference_in(part.value) if isinstance(part.value, str) and "${" in part.value else None
        if reference is None:
            continue
        choices = _wrong_reference(operation, reference, earlier)
        if choices is not None:
            report.add(
                part.position,
                "unknown_reference",
                f"nothing is called {reference.dotted!r} here",
                choices=choices,
                given=reference.dotted,
            )
        elif reference.root == "parameters" and id(part) in listed and _optional(operation, reference):
            report.add(
                part.position,
                "optional_in_list",
                f"{reference.dotted} may be absent, which would shift the list; make it required or give it a default",
            )


def _optional(operation: Operation, reference: Reference) -> bool:
    name = reference.path[0]
    return name not in operation.required and "default" not in operation.parameters[name]


def _wrong_reference(
    operation: Operation, reference: Reference, earlier: Mapping[str, CallSpec | None]
) -> tuple[str, ...] | None:
    """What could be written instead when `reference` leads nowhere; None when it is right."""
    first = reference.path[0] if reference.path else ""
    if reference.root == "parameters" and first not in operation.parameters:
        return tuple(f"parameters.{name}" for name in operation.parameters)
    if reference.root == "calls":
        if first not in earlier:
            return tuple(f"calls.{name}" for name in earlier)
        spec = earlier[first]
        fields = tuple(spec.returns) if spec is not None else ()
        if fields and not spec_is_open(spec) and (len(reference.path) < 2 or reference.path[1] not in fields):
            return tuple(f"calls.{first}.{name}" for name in fields)
    return None


def spec_is_open(spec: CallSpec | None) -> bool:
    """Whether the call's result has whatever form the platform gives it."""
    return spec is None or spec.open


def _arguments(report: Report, operation: Operation, template: CallTemplate, spec: CallSpec, node: Node) -> None:
    for problem in check_value(spec.arguments, template.arguments):
        if not refers(template.arguments, problem.path):
            add_value_problem(report, problem, node, f"{operation.name}: {template.call}")


def _risk(report: Report, operation: Operation, classify: Classify, template: CallTemplate, place: Node) -> None:
    try:
        mutates, risk = classify(template.call, template.arguments)
    except CallError as error:
        report.add(place.at("call").position, "unknown_call", f"{operation.name}: {error.message}")
        return
    if mutates and not operation.mutates:
        report.add(
            place.at("call").position,
            "mutating_call",
            f"{operation.name} says mutates: false, but {template.call} changes something",
        )
    if template.risk is not None and template.risk.rank < risk.rank:
        report.add(
            place.at("risk").position,
            "risk_lowered",
            f"{template.call} has the risk {risk.value}; a translation may raise it, never lower it",
            choices=tuple(level.value for level in type(risk) if level.rank >= risk.rank),
        )


def check_verb_tests(report: Report, operation: Operation, tests: Iterable[VerbTest], node: Node) -> None:
    """Report tests that could never say anything."""
    for index, test in enumerate(tests):
        if test.platform not in operation.translations:
            report.add(
                node.at(index, "platform").position,
                "unknown_platform",
                f"the test {test.name!r} wants {test.platform!r}, for which {operation.name} has no translation",
                choices=tuple(operation.translations),
                given=test.platform,
            )
        if bool(test.expect) is (test.error is not None):
            report.add(node.at(index).position, "bad_test", f"the test {test.name!r} needs either expect or error")
