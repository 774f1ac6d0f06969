"""Stage three for translations: what they call exists, fits, and is no riskier than the operation admits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from uici.catalogue.diagnostics import Position, Report
from uici.catalogue.draft import KNOWN_PLATFORMS, add_value_problem, call_specs, check_texts, or_empty, refers
from uici.catalogue.reading import Node
from uici.model.base import JsonObject, JsonValue
from uici.model.builtin import classify_builtin
from uici.model.call import CallError, CallSpec, Risk
from uici.model.operation import BUILTIN, CallTemplate, Operation, Translation
from uici.model.parameters import check_value, kinds_at
from uici.model.plain_schemas import plainly_satisfies
from uici.model.references import Reference, reference_in
from uici.model.selecting import selector
from uici.model.site import VerbTest
from uici.ports import Executor

ROOTS = ("parameters", "target", "calls")
_PLAIN_KEYWORDS = frozenset({"$defs", "title", "description", "type", "properties", "required", "additionalProperties"})
"""Of a schema for arguments: nothing but which there may be, which there must be, and what each is."""


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
    looker = _Calls(report, operation, platform, executors)
    looker.check(translation.calls, node)
    _result(report, operation, node, looker.earlier)
    for part, reading in (("before", translation.before), ("verification", translation.verification)):
        if reading is None:
            continue
        # What is kept is read before the first call; what is verified, after the last.
        known = dict(looker.earlier) if part == "verification" else {}
        reader = _Calls(report, operation, platform, executors, known, reads=f"translations.{platform}.{part}")
        reader.check(reading.calls, node.at(part))
        _result(report, operation, node.at(part), reader.earlier)


def _result(report: Report, operation: Operation, node: Node, earlier: Mapping[str, CallSpec | None]) -> None:
    result = node.mapping.get("result")
    if result is not None:
        _references(report, operation, result, earlier)


@dataclass
class _Calls:
    """The calls of one list, checked in their order."""

    report: Report
    operation: Operation
    platform: str
    executors: Mapping[str, type[Executor]]
    earlier: dict[str, CallSpec | None] = field(default_factory=dict)
    """The calls so far that have an id."""
    reads: str = ""
    """Where only calls that read may stand: what that place is called."""

    def check(self, templates: Iterable[CallTemplate], node: Node) -> None:
        specs = call_specs(self.executors, self.platform)
        for index, template in enumerate(templates):
            place = node.at("calls", index)
            spec = specs.get(template.call) if specs is not None else None
            if specs is not None and spec is None:
                self.report.add(
                    place.at("call").position,
                    "unknown_call",
                    f"{self.platform} has no call {template.call!r}",
                    choices=tuple(specs),
                    given=template.call,
                )
            arguments = or_empty(place, "arguments")
            _references(self.report, self.operation, arguments, self.earlier)
            _until(self.report, self.operation, template, spec, place, self.earlier)
            if spec is not None:
                _arguments(self.report, self.operation, template, spec, arguments)
                self._class(template, place)
            if template.id is not None:
                if template.id in self.earlier:
                    position = place.at("id").position
                    self.report.add(position, "duplicate_id", f"two calls have the id {template.id!r}")
                self.earlier[template.id] = spec

    def _class(self, template: CallTemplate, place: Node) -> None:
        classify = classify_builtin if self.platform == BUILTIN else self.executors[self.platform].classify
        try:
            mutates, risk = classify(template.call, template.arguments)
        except CallError as error:
            self.report.add(place.at("call").position, "unknown_call", f"{self.operation.name}: {error.message}")
            return
        _risk(self.report, self.operation, template, (mutates, risk), place)
        if mutates and self.reads and self.operation.mutates:
            self.report.add(
                place.at("call").position, "mutating_call", f"{self.reads} only reads, but {template.call} may change"
                " something with these arguments"
            )  # fmt: skip
        if mutates and template.until:
            self.report.add(
                place.key_position("until"),
                "repeated_change",
                f"{template.call} may change something with these arguments, so it is not repeated until something "
                "holds; put until on a call after it that only reads",
            )


def _until(
    report: Report,
    operation: Operation,
    template: CallTemplate,
    spec: CallSpec | None,
    place: Node,
    earlier: Mapping[str, CallSpec | None],
) -> None:
    if not template.until:
        return
    _references(report, operation, place.at("until"), earlier)
    for index, condition in enumerate(template.until):
        first = selector(condition.field).parts[0]
        if spec is not None and not spec_is_open(spec) and spec.returns and first not in spec.returns:
            report.add(
                place.at("until", index, "field").position,
                "unknown_field",
                f"{template.call} returns no field {str(first)!r}",
                choices=tuple(spec.returns),
                given=str(first),
            )


def _references(report: Report, operation: Operation, node: Node, earlier: Mapping[str, CallSpec | None]) -> None:
    if not check_texts(report, node, ROOTS):
        return
    listed = {id(item) for part in node.walk() for item in part.items}
    for part in node.walk():
        reference = reference_in(part.value) if isinstance(part.value, str) and "${" in part.value else None
        if reference is None:
            continue
        _compared(report, operation, part, reference)
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


def _compared(report: Report, operation: Operation, part: Node, reference: Reference) -> None:
    """What a selection's filters compare with must exist."""
    for dotted in selector(reference.dotted).parameters:
        root, name = dotted.split(".")[:2]
        if root == "parameters" and name not in operation.parameters:
            report.add(
                part.position,
                "unknown_reference",
                f"nothing is called {dotted!r} here",
                choices=tuple(f"parameters.{each}" for each in operation.parameters),
                given=dotted,
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
    for path, text in _texts(template.arguments):
        if not text.endswith(".length()}") or reference_in(text) is None:
            continue
        kinds = kinds_at(spec.arguments, path)
        if not {"a whole number", "a number", "anything"} & {*kinds}:
            report.add(
                node.at(*path).position,
                "wrong_type",
                f"{operation.name}: {template.call}: {'.'.join(map(str, path))} must be {' or '.join(kinds)}, "
                "and a length is a whole number",
            )
    if _plainly_fits(spec.arguments, template.arguments):
        return
    for problem in check_value(spec.arguments, template.arguments):
        if not refers(template.arguments, problem.path):
            add_value_problem(report, problem, node, f"{operation.name}: {template.call}")


def _plainly_fits(schema: JsonObject, arguments: JsonObject) -> bool:
    """Whether all arguments that are written out surely satisfy the schema, and the others are references.

    Nearly all are like that; the whole validator would find each reference to be a text, which is then passed over.
    """
    if (
        schema.get("type") != "object"
        or not schema.keys() <= _PLAIN_KEYWORDS
        or not schema.get("properties", {}).keys() >= arguments.keys()
    ):
        return False
    written = {name: value for name, value in arguments.items() if not refers(arguments, (name,))}
    return arguments.keys() >= set(schema.get("required", ())) and all(
        plainly_satisfies(schema["properties"][name], value) for name, value in written.items()
    )


def _risk(
    report: Report, operation: Operation, template: CallTemplate, classed: tuple[bool, Risk], place: Node
) -> None:
    mutates, risk = classed
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


def _texts(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


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
