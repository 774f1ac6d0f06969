"""Stage three for translations: what they call exists, fits, and is no riskier than the operation admits."""

from __future__ import annotations

from collections.abc import Mapping

from uici.catalogue.draft import KNOWN_PLATFORMS, Draft, refers
from uici.catalogue.reading import Node
from uici.model.builtin import classify_builtin
from uici.model.call import CallError, CallSpec
from uici.model.operation import BUILTIN, CallTemplate, Operation, Translation
from uici.model.parameters import check_value
from uici.model.references import Reference, reference_in

ROOTS = ("parameters", "target", "calls")


def check_translations(draft: Draft) -> None:
    """Report whatever is wrong with the translations, and where one is missing."""
    for name, operation in draft.operations.items():
        written = {platform for verb, platform in draft.translation_nodes if verb == name}
        for platform in sorted(written):
            key = draft.translation_keys[name, platform]
            known = {*KNOWN_PLATFORMS, *draft.executors, BUILTIN}
            if platform not in known:
                draft.report.add(
                    key,
                    "unknown_platform",
                    f"{name} is translated for {platform!r}, which is no platform",
                    choices=sorted(known),
                    given=platform,
                )
        if BUILTIN in written and len(written) > 1:
            draft.report.add(
                draft.translation_keys[name, BUILTIN],
                "builtin_and_platform",
                f"{name} is built in, so it takes no translation for a platform",
            )
        if BUILTIN not in written:
            _coverage(draft, operation, written)
        for platform, translation in operation.translations.items():
            _translation(draft, operation, platform, translation)
    _verb_tests(draft)


def _coverage(draft: Draft, operation: Operation, written: set[str]) -> None:
    used = {environment.platform for environment in draft.environments.values()}
    for platform in sorted((used & set(draft.executors)) - written):
        draft.report.add(
            draft.operation_keys[operation.name],
            "missing_translation",
            f"{operation.name} has no translation for the platform {platform!r}; "
            "write its calls, or unsupported: with the reason why there are none",
        )


def _translation(draft: Draft, operation: Operation, platform: str, translation: Translation) -> None:
    node = draft.translation_nodes[operation.name, platform]
    specs = draft.call_specs(platform)
    earlier: dict[str, CallSpec | None] = {}
    for index, template in enumerate(translation.calls):
        place = node.at("calls", index)
        spec = specs.get(template.call) if specs is not None else None
        if specs is not None and spec is None:
            draft.report.add(
                place.at("call").position,
                "unknown_call",
                f"{platform} has no call {template.call!r}",
                choices=tuple(specs),
                given=template.call,
            )
        arguments = place.mapping.get("arguments", Node(place.position, {}))
        _references(draft, operation, arguments, earlier, specs)
        if spec is not None:
            _arguments(draft, operation, template, spec, arguments)
            _risk(draft, operation, platform, template, place)
        if template.id is not None:
            if template.id in earlier:
                draft.report.add(place.at("id").position, "duplicate_id", f"two calls have the id {template.id!r}")
            earlier[template.id] = spec
    result = node.mapping.get("result")
    if result is not None:
        _references(draft, operation, result, earlier, specs)


def _references(
    draft: Draft,
    operation: Operation,
    node: Node,
    earlier: Mapping[str, CallSpec | None],
    specs: Mapping[str, CallSpec] | None,
) -> None:
    draft.texts(node, ROOTS)
    listed = {id(item) for part in node.walk() for item in part.items}
    for part in node.walk():
        reference = reference_in(part.value) if isinstance(part.value, str) else None
        if reference is None:
            continue
        choices = _wrong_reference(operation, reference, earlier)
        if choices is not None:
            draft.report.add(
                part.position,
                "unknown_reference",
                f"nothing is called {reference.dotted!r} here",
                choices=choices,
                given=reference.dotted,
            )
        elif reference.root == "parameters" and id(part) in listed and _optional(operation, reference):
            draft.report.add(
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


def _arguments(draft: Draft, operation: Operation, template: CallTemplate, spec: CallSpec, node: Node) -> None:
    for problem in check_value(spec.arguments, template.arguments):
        if not refers(template.arguments, problem.path):
            draft.value_problem(problem, node, f"{operation.name}: {template.call}")


def _risk(draft: Draft, operation: Operation, platform: str, template: CallTemplate, place: Node) -> None:
    classify = classify_builtin if platform == BUILTIN else draft.executors[platform].classify
    try:
        mutates, risk = classify(template.call, template.arguments)
    except CallError as error:
        draft.report.add(place.at("call").position, "unknown_call", f"{operation.name}: {error.message}")
        return
    if mutates and not operation.mutates:
        draft.report.add(
            place.at("call").position,
            "mutating_call",
            f"{operation.name} says mutates: false, but {template.call} changes something",
        )
    if template.risk is not None and template.risk.rank < risk.rank:
        draft.report.add(
            place.at("risk").position,
            "risk_lowered",
            f"{template.call} has the risk {risk.value}; a translation may raise it, never lower it",
            choices=tuple(level.value for level in type(risk) if level.rank >= risk.rank),
        )


def _verb_tests(draft: Draft) -> None:
    for name, tests in draft.verb_tests.items():
        node = draft.verb_test_nodes[name]
        operation = draft.operations.get(name)
        if operation is None:
            continue
        for index, test in enumerate(tests):
            if test.platform not in operation.translations:
                draft.report.add(
                    node.at(index, "platform").position,
                    "unknown_platform",
                    f"the test {test.name!r} wants {test.platform!r}, for which {name} has no translation",
                    choices=tuple(operation.translations),
                    given=test.platform,
                )
            if bool(test.expect) is (test.error is not None):
                draft.report.add(
                    node.at(index).position, "bad_test", f"the test {test.name!r} needs either expect or error"
                )
