"""Stages two and three for operations: their parameters' schemas, what they read, undo and verify.

What can be said of an operation by itself is apart from what depends on the operations that it names, so that a change
of one file is checked without looking at all others again.
"""

from __future__ import annotations

from collections.abc import Set

from uici.catalogue.diagnostics import Position, Report
from uici.catalogue.draft import Later, Lookup, Verb, check_texts, only_reads, or_empty
from uici.catalogue.reading import Node
from uici.model.base import JsonObject
from uici.model.operation import BUILTIN, Operation
from uici.model.parameters import check_value, schema_problem
from uici.model.references import references

STATUS = "get_service_status"
"""The operation over whose result preconditions speak."""

INVERSE_ROOTS = ("before", "parameters", "added")
"""`${added.x}`: the keys that the parameter `x` has and the kept `x` had not; undo removes them."""


def check_schemas(report: Report, operation: Operation, node: Node) -> bool:
    """Report what is wrong with the parameters' schemas; says whether anything can be judged by them."""
    sound = True
    for parameter, schema in operation.parameters.items():
        problem = schema_problem(schema) if isinstance(schema, dict) else "must be a mapping: a JSON Schema"
        if problem is None and "type" not in schema and "enum" not in schema and "const" not in schema:
            problem = "has neither type nor enum, so it would accept anything"
        if problem is not None:
            key = node.key_position("parameters", parameter)
            report.add(key, "bad_schema", f"parameter {parameter!r} of {operation.name}: {problem}")
            sound = False
        elif "default" in schema:
            for wrong in check_value(schema, schema["default"]):
                report.add(
                    node.at("parameters", parameter, "default").position,
                    "bad_default",
                    f"the default of {parameter!r} of {operation.name} does not satisfy its own schema: {wrong}",
                )
    for index, parameter in enumerate(operation.required):
        if parameter not in operation.parameters:
            report.add(
                node.at("required", index).position,
                "unknown_parameter",
                f"{operation.name} requires {parameter!r}, which is none of its parameters",
                choices=tuple(operation.parameters),
                given=parameter,
            )
            sound = False
    return sound


def check_own_references(report: Report, operation: Operation, node: Node) -> None:
    """Report references inside `before`, `inverse` and `verification` that lead nowhere within the operation."""
    own = tuple(operation.parameters)
    if operation.before is not None:
        check_texts(report, or_empty(node.at("before"), "parameters"), ())
    if operation.inverse is not None:
        kept = operation.before.keep if operation.before is not None else {}
        both = tuple(name for name in kept if name in operation.parameters)
        parameters = or_empty(node.at("inverse"), "parameters")
        _known(report, operation, parameters, {"before": tuple(kept), "parameters": own, "added": both})
        check_texts(report, parameters, INVERSE_ROOTS)
    if operation.verification is not None:
        place = node.at("verification")
        _known(report, operation, place, {"parameters": own})
        check_texts(report, or_empty(place, "expect"), ("parameters",))
        check_texts(report, or_empty(place, "parameters"), ("parameters",))


def named_operations(operation: Operation) -> Set[str]:
    """The operations that this one names: a change of theirs may break it."""
    named: set[str] = set()
    if operation.preconditions:
        named.add(STATUS)
    if operation.before is not None and operation.before.read is not None:
        named.add(operation.before.read)
    if operation.inverse is not None:
        named.add(operation.inverse.operation)
    if operation.verification is not None and operation.verification.read is not None:
        named.add(operation.verification.read)
    return named


def same_to_others(one: Verb | None, other: Verb | None) -> bool:
    """Whether what others see of an operation, when they name it, is the same."""
    if one is None or other is None:
        return one is other
    left, right = one.operation, other.operation
    if left is None or right is None:
        return left is right
    return (left.mutates, only_reads(left), left.parameters, left.required, left.returns) == (
        right.mutates,
        only_reads(right),
        right.parameters,
        right.required,
        right.returns,
    )


def check_among_others(lookup: Lookup, verb: Verb, platforms: Set[str]) -> None:
    """Report what is wrong with a sound operation among the others; `platforms` are those that it has to cover."""
    operation = verb.operation
    if operation is None:
        return
    _coverage(lookup.report, verb, platforms)
    _preconditions(lookup, operation, verb.node)
    _before(lookup, operation, verb.node)
    _inverse(lookup, operation, verb.node)
    _verification(lookup, operation, verb.node)


def _coverage(report: Report, verb: Verb, platforms: Set[str]) -> None:
    if BUILTIN in verb.translations:
        return
    for platform in sorted(platforms - verb.translations.keys()):
        report.add(
            verb.key,
            "missing_translation",
            f"{verb.name} has no translation for the platform {platform!r}; "
            "write its calls, or unsupported: with the reason why there are none",
        )


def _preconditions(lookup: Lookup, operation: Operation, node: Later) -> None:
    if operation.preconditions:
        reader = lookup.reader(STATUS, lambda: node().at("preconditions").position, f"{operation.name}: preconditions")
        if reader is not None:
            lookup.conditions(operation.preconditions, reader, lambda: node().at("preconditions"))


def _before(lookup: Lookup, operation: Operation, node: Later) -> None:
    before = operation.before
    _readings(lookup.report, operation, "before", None if before is None else (before.read, before.parameters), node)
    if before is None or before.read is None:
        return
    what = f"{operation.name}: before"
    reader = lookup.reader(before.read, lambda: node().at("before", "read").position, what)
    if reader is None:
        return
    lookup.parameters(reader, before.parameters, lambda: or_empty(node().at("before"), "parameters"), what)
    for name, path in before.keep.items():

        def place(name: str = name) -> Position:
            return node().at("before", "keep", name).position

        lookup.returned(path, reader, place)


def _inverse(lookup: Lookup, operation: Operation, node: Later) -> None:
    inverse = operation.inverse
    if inverse is None:
        return
    what = f"{operation.name}: inverse"
    undo = lookup.operation(inverse.operation, lambda: node().at("inverse", "operation").position, what)
    if undo is None:
        return
    if not undo.mutates:
        lookup.report.add(
            node().at("inverse", "operation").position,
            "wrong_inverse",
            f"{operation.name}: {undo.name!r} only reads, so it restores nothing",
        )
    lookup.parameters(undo, inverse.parameters, lambda: or_empty(node().at("inverse"), "parameters"), what)


def _verification(lookup: Lookup, operation: Operation, node: Later) -> None:
    verification = operation.verification
    written = None if verification is None else (verification.read, verification.parameters)
    _readings(lookup.report, operation, "verification", written, node)
    if verification is None or verification.read is None:
        return
    what = f"{operation.name}: verification"
    reader = lookup.reader(verification.read, lambda: node().at("verification", "read").position, what)
    if reader is None:
        return
    lookup.conditions(verification.expect, reader, lambda: node().at("verification", "expect"))
    lookup.parameters(reader, verification.parameters, lambda: or_empty(node().at("verification"), "parameters"), what)


def _readings(
    report: Report, operation: Operation, part: str, written: tuple[str | None, JsonObject] | None, node: Later
) -> None:
    """Either the operation names an operation that reads, or each of its translations says how to."""
    able = {key: each for key, each in operation.translations.items() if each.unsupported is None}
    having = sorted(key for key, each in able.items() if getattr(each, part) is not None)
    if having and (written is None or written[0] is not None):
        why = f"names {written[0]!r}" if written is not None else f"has no {part}"
        report.add(
            node().key_position(part) if written is not None else node().position,
            "useless_reading",
            f"{operation.name} {why}, so translations.{having[0]}.{part} is never read; write one of the two",
        )
    if written is None or written[0] is not None:
        return
    lacking = sorted(set(able) - set(having))
    if lacking:
        report.add(
            node().key_position(part),
            "missing_reading",
            f"{operation.name}: {part} names no operation to read, so each translation needs a {part} of its own; "
            f"missing for {', '.join(lacking)}",
        )
    if written[1]:
        report.add(
            node().at(part, "parameters").position,
            "useless_parameters",
            f"{operation.name}: {part} names no operation, so nothing takes these parameters",
        )


def _known(report: Report, operation: Operation, node: Node, names: dict[str, tuple[str, ...]]) -> None:
    """Every reference below `node` must name something of `names`."""
    for part in node.walk():
        for reference in references(part.value) if isinstance(part.value, str) else ():
            known = names.get(reference.root)
            first = reference.path[0] if reference.path else ""
            if known is not None and first not in known:
                report.add(
                    part.position,
                    "unknown_reference",
                    f"{operation.name}: nothing is called {reference.dotted!r}",
                    choices=tuple(f"{reference.root}.{name}" for name in known),
                    given=reference.dotted,
                )
