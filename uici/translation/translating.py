"""From a plan to the exact calls that will be sent, with all that is wrong said at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from uici.model.base import JsonObject, JsonValue
from uici.model.builtin import BUILTIN_SPECS, classify_builtin
from uici.model.call import SELECTION_KEY, Call, CallError, CallSpec, Poll
from uici.model.condition import Condition
from uici.model.errors import Problem, ProblemKind
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.operation import BUILTIN, CallTemplate, Operation, Reading, Translation
from uici.model.parameters import ValueProblem, check_value, unusable_text, with_defaults
from uici.model.plan import Plan, PreparedPlan, PreparedReading, PreparedStep, Step
from uici.model.references import OMITTED, MissingItemError, Reference, resolve
from uici.model.selecting import SelectionError, SelectionSyntaxError, Selector, selector
from uici.model.site import Site
from uici.translation.refusals import Found, StepError, refusal, unknown
from uici.translation.selections import Classify, shown_selections
from uici.translation.undoing import resolve_inverse, undo_text

_POLL_SECONDS = 1.0
"""Between two looks of a call that is repeated until something holds."""


def prepare(
    plan: Plan,
    site: Site,
    call_specs: Mapping[str, Mapping[str, CallSpec]],
    classify: Mapping[str, Classify],
    identity: SelfIdentity,
    layers: SelfGuardLayers,
) -> PreparedPlan:
    """Translate every step of `plan` for its environment; nothing is sent.

    `call_specs` and `classify` are the executors' by platform. Raises Problem of kind UNPROCESSABLE whose `errors`
    hold one entry per thing that is wrong (`step` counts from 1, `code`, `detail`, `where`, `allowed`); of kind
    FORBIDDEN with code `self_target` when a step that changes something would reach UICI itself.
    """
    translator = _Translator(plan, site, call_specs, classify)
    steps: list[PreparedStep] = []
    errors: list[JsonObject] = []
    for number, step in enumerate(plan.steps, start=1):
        try:
            steps.append(translator.step(step))
        except StepError as error:
            errors.extend({"step": number, "operation": step.operation, **found.as_json()} for found in error.found)
    if errors:
        raise refusal(errors, len(plan.steps))
    if layers.translation:
        _refuse_self(steps, site, identity)
    return PreparedPlan(plan=plan, steps=tuple(steps))


def inverse_step(prepared: PreparedStep, before: JsonObject) -> Step | None:
    """The step that restores the configuration kept in `before`; None when there is none or it cannot be known."""
    inverse = prepared.operation.inverse
    if inverse is None:
        return None
    parameters = resolve_inverse(inverse.parameters, prepared.operation, prepared.step.parameters, before)
    if parameters is None:
        return None
    return Step(operation=inverse.operation, target=prepared.step.target, parameters=parameters)


@dataclass(frozen=True)
class _Translator:
    plan: Plan
    site: Site
    call_specs: Mapping[str, Mapping[str, CallSpec]]
    classify: Mapping[str, Classify]
    builtin: Classify = field(default=classify_builtin)

    def step(self, step: Step) -> PreparedStep:
        """One prepared step. Raises StepError with all that is wrong with it."""
        operation, binding, found = self._things(step)
        parameters: JsonObject = {}
        if operation is not None:
            parameters = with_defaults(operation.parameters_schema, step.parameters)
            found.extend(_parameters(operation, parameters))
        if found or operation is None:
            raise StepError(tuple(found))
        platform = BUILTIN if BUILTIN in operation.translations else self._platform()
        translation = self._translation(operation, platform)
        given = step.model_copy(update={"parameters": parameters})
        calls = self._calls(operation, translation.calls, platform, parameters, binding)
        risk = max((operation.risk, *(call.risk for call in calls)), key=lambda level: level.rank)
        prepared = _with_verification(operation, parameters)
        return PreparedStep(
            step=given,
            operation=prepared,
            binding=binding,
            calls=calls,
            result=_resolved(translation.result, parameters, binding) if translation.result is not None else None,
            before=self._reading(operation, translation.before, platform, parameters, binding),
            verification=self._reading(operation, translation.verification, platform, parameters, binding),
            risk=risk,
            undo=undo_text(operation, parameters),
        )

    def _platform(self) -> str:
        return self.site.environments[self.plan.environment].platform

    def _things(self, step: Step) -> tuple[Operation | None, JsonObject, list[Found]]:
        """The operation and the binding that a step names, and what does not exist."""
        found: list[Found] = []
        environments, targets, operations = self.site.environments, self.site.targets, self.site.operations
        if self.plan.environment not in environments:
            found.append(unknown("environment", self.plan.environment, tuple(environments)))
        operation = operations.get(step.operation)
        if operation is None:
            found.append(unknown("operation", step.operation, tuple(sorted(operations))))
        target = targets.get(step.target)
        if target is None:
            # A verb without a platform needs no binding, yet it is about a target that exists.
            found.append(unknown("target", step.target, tuple(sorted(targets))))
            return operation, {}, found
        binding = target.bindings.get(self.plan.environment)
        if binding is None and not (operation is not None and BUILTIN in operation.translations):
            bound = tuple(target.bindings)
            detail = f"target {step.target!r} is not bound in environment {self.plan.environment!r}"
            found.append(Found("unbound_target", f"{detail}; it is bound in {', '.join(bound)}", "target", bound))
        return operation, dict(binding or {}), found

    def _translation(self, operation: Operation, platform: str) -> Translation:
        translation = operation.translations.get(platform)
        if translation is not None and translation.unsupported is None:
            return translation
        able = tuple(sorted(name for name, other in operation.translations.items() if other.unsupported is None))
        why = translation.unsupported if translation is not None else "it has no translation"
        detail = f"{operation.name} is not available on {platform}: {why}"
        raise StepError((Found("unsupported_on_platform", detail, "operation", able),))

    def _calls(
        self,
        operation: Operation,
        templates: tuple[CallTemplate, ...],
        platform: str,
        parameters: JsonObject,
        binding: JsonObject,
        prefix: str = "call",
    ) -> tuple[Call, ...]:
        specs = BUILTIN_SPECS if platform == BUILTIN else self.call_specs.get(platform, {})
        classify = self.builtin if platform == BUILTIN else self.classify.get(platform)
        if classify is None:
            detail = f"no executor for the platform {platform!r} is installed"
            raise StepError((Found("unknown_platform", detail, "environment", tuple(self.classify)),))
        calls: list[Call] = []
        found: list[Found] = []
        for number, template in enumerate(templates, start=1):
            spec = specs.get(template.call)
            if spec is None:
                found.append(unknown("call", template.call, tuple(specs)))
                continue
            try:
                arguments: JsonObject = _resolved(template.arguments, parameters, binding)
                poll = _poll(template, parameters, binding)
            except MissingItemError as error:
                found.append(_missing_item(operation, error.reference, binding))
                continue
            wrong = [_argument(operation, spec, problem) for problem in check_value(spec.arguments, arguments)]
            found.extend(wrong)
            if not wrong:
                named = template.id or f"{prefix}_{number}"
                calls.append(_call(operation, template, spec, arguments, classify, named, poll))
        if found:
            raise StepError(tuple(found))
        return tuple(calls)

    def _reading(
        self,
        operation: Operation,
        reading: Reading | None,
        platform: str,
        parameters: JsonObject,
        binding: JsonObject,
    ) -> PreparedReading | None:
        if reading is None:
            return None
        # Ids of its own: it runs beside the step's calls and may select from what they gave.
        calls = self._calls(operation, reading.calls, platform, parameters, binding, prefix="look")
        changing = next((call.name for call in calls if call.mutates), None)
        if changing is not None:
            detail = f"{operation.name} would look by {changing}, which with these arguments changes something"
            raise StepError((Found("mutating_call", detail, "operation"),))
        result = _resolved(reading.result, parameters, binding) if reading.result is not None else None
        return PreparedReading(calls=calls, result=result)


def _poll(template: CallTemplate, parameters: JsonObject, binding: JsonObject) -> Poll | None:
    if template.within_seconds is None:
        return None
    until = _conditions(template.until, parameters, binding)
    if not until:
        return None
    return Poll(
        until=until, within_seconds=template.within_seconds, every_seconds=template.every_seconds or _POLL_SECONDS
    )


def _call(
    operation: Operation,
    template: CallTemplate,
    spec: CallSpec,
    arguments: JsonObject,
    classify: Classify,
    named: str,
    poll: Poll | None,
) -> Call:
    try:
        mutates, risk = classify(template.call, arguments)
    except CallError as error:
        raise StepError((Found(error.code, error.message, "operation"),)) from None
    if mutates and not operation.mutates:
        detail = (
            f"{operation.name} says that it only reads, but with these arguments {template.call} would change something"
        )
        raise StepError((Found("mutating_call", detail, "operation"),))
    if mutates and poll is not None:
        detail = f"{operation.name} would repeat {template.call} until something holds, but it changes something"
        raise StepError((Found("repeated_change", detail, "operation"),))
    raised = template.risk or risk
    return Call(
        id=named,
        name=template.call,
        arguments=arguments,
        mutates=mutates,
        risk=max(raised, risk, key=lambda level: level.rank),
        timeout_seconds=spec.timeout_seconds,
        in_flight_seconds=spec.in_flight_seconds,
        provable=spec.provable and mutates,
        poll=poll,
        selects=shown_selections(arguments, spec),
    )


def _parameters(operation: Operation, parameters: JsonObject) -> list[Found]:
    unusable = unusable_text(parameters)
    if unusable is not None:
        return [Found("wrong_value", f"{operation.name}: a parameter {unusable}", "parameters")]
    found = [
        Found(problem.code, f"{operation.name}: parameter {problem}", f"parameters.{problem.dotted}", problem.choices)
        for problem in check_value(operation.parameters_schema, parameters)
    ]
    if has_selection(parameters):
        detail = f"{operation.name}: the key {SELECTION_KEY!r} is reserved and cannot be used in a parameter"
        found.append(Found("reserved_key", detail, "parameters"))
    return found


def _argument(operation: Operation, spec: CallSpec, problem: ValueProblem) -> Found:
    return Found(
        "invalid_argument", f"{operation.name}: {spec.name}: argument {problem}", problem.dotted, problem.choices
    )


def _missing_item(operation: Operation, reference: Reference, binding: JsonObject) -> Found:
    known = tuple(f"{reference.root}.{name}" for name in binding) if reference.root == "target" else ()
    detail = f"{operation.name} needs {reference.dotted}, which the target's binding does not have"
    if reference.root != "target":
        detail = f"{operation.name} needs {reference.dotted}, which was not given"
    return Found("missing_value", detail, reference.dotted, known)


def has_selection(value: JsonValue) -> bool:
    """Whether some value in it is selected from an earlier call's result, or would be taken for that."""
    if isinstance(value, dict):
        return SELECTION_KEY in value or any(has_selection(item) for item in value.values())
    return isinstance(value, list | tuple) and any(has_selection(item) for item in value)


def _resolved(template: JsonValue, parameters: JsonObject, binding: JsonObject) -> JsonValue:
    def source(root: str) -> JsonValue:
        return parameters if root == "parameters" else binding

    def compared(dotted: str) -> JsonValue:
        root, _, path = dotted.partition(".")
        value = _item_of(source(root), path, dotted)
        if value is OMITTED:
            raise MissingItemError(Reference(root, tuple(path.split("."))))
        return value

    def lookup(reference: Reference) -> JsonValue:
        if reference.root == "calls":
            return {SELECTION_KEY: _selection(selector(reference.dotted), compared)}
        return _item_of(source(reference.root), reference.below, reference.dotted)

    return resolve(template, lookup)


def _selection(written: Selector, compared: Callable[[str], JsonValue]) -> str:
    """As `selects` in a call: with the values that its filters compare with."""
    if not written.parameters:
        return str(written)
    filled = written.filled(compared)
    try:
        if selector(str(filled)) == filled:
            return str(filled)
    except SelectionSyntaxError:
        pass  # a text that is too long; the same answer as to a value that is no text, number, true, false or null
    detail = f"{', '.join(written.parameters)} cannot be compared with in {written}: it is no plain, short value"
    raise StepError((Found("wrong_value", detail, written.parameters[0]),))


def _item_of(source: JsonValue, path: str, dotted: str) -> JsonValue:
    if not path:
        return source
    try:
        return selector(path).of(source)
    except SelectionError as error:
        if error.code == "selection_missing":
            return OMITTED
        raise StepError((Found(error.code, str(error), dotted),)) from None


def _conditions(
    conditions: tuple[Condition, ...], parameters: JsonObject, binding: JsonObject
) -> tuple[Condition, ...]:
    """`conditions` with the values that they refer to; one on a parameter that was not given says nothing."""
    found = []
    for condition in conditions:
        written = {name: getattr(condition, name) for name in condition.model_fields_set}
        filled = _resolved(written, parameters, binding)
        if filled.keys() == written.keys():
            found.append(Condition(**filled))
    return tuple(found)


def _with_verification(operation: Operation, parameters: JsonObject) -> Operation:
    """The operation with the parameters filled into its verification, so that nobody has to resolve it later."""
    verification = operation.verification
    if verification is None:
        return operation
    expect = _conditions(verification.expect, parameters, {})
    if not expect:
        return operation.model_copy(update={"verification": None})
    filled_parameters = _resolved(verification.parameters, parameters, {})
    return operation.model_copy(
        update={"verification": verification.model_copy(update={"expect": expect, "parameters": filled_parameters})}
    )


def _refuse_self(steps: list[PreparedStep], site: Site, identity: SelfIdentity) -> None:
    for number, prepared in enumerate(steps, start=1):
        if not prepared.operation.mutates and not any(call.mutates for call in prepared.calls):
            continue
        target = site.targets[prepared.step.target]
        reached = identity.is_target((prepared.step.target, *target.aliases), prepared.binding)
        for call in prepared.calls:
            reached = reached or identity.is_reached_by(call.arguments)
        if reached is not None:
            raise Problem(
                ProblemKind.FORBIDDEN,
                "self_target",
                f"step {number}, {prepared.operation.name} on {prepared.step.target!r}, would act on UICI itself: "
                f"{reached!r} names it (guard self-target, layer translation)",
                where=f"steps.{number - 1}",
                hint="UICI may be watched, but never acts on itself; heal it from outside",
            )
