"""From a plan to the exact calls that will be sent, with all that is wrong said at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from uici.model.base import JsonObject, JsonValue
from uici.model.builtin import BUILTIN_SPECS, classify_builtin
from uici.model.call import SELECTION_KEY, Call, CallError, CallSpec, Risk
from uici.model.condition import Condition, select
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.operation import BUILTIN, CallTemplate, Operation, Translation
from uici.model.parameters import ValueProblem, check_value, unusable_text, with_defaults
from uici.model.plan import Plan, PreparedPlan, PreparedStep, Step
from uici.model.references import OMITTED, MissingItemError, Reference, resolve
from uici.model.site import Site
from uici.translation.undoing import resolve_inverse, undo_text

Classify = Callable[[str, JsonObject], tuple[bool, Risk]]

_MISSING = object()


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
        except _StepError as error:
            errors.extend({"step": number, "operation": step.operation, **found.as_json()} for found in error.found)
    if errors:
        raise _refusal(errors, len(plan.steps))
    if layers.translation:
        _refuse_self(steps, site, identity)
    return PreparedPlan(plan=plan, steps=tuple(steps))


def resolve_selections(arguments: JsonValue, results: Mapping[str, JsonValue]) -> JsonValue:
    """`arguments` with each selection replaced by what the earlier calls' `results`, by call id, hold.

    Raises Problem (UNPROCESSABLE, `selection_missing`) when a result lacks what is selected: the call cannot be
    built, so it is not sent.
    """
    if isinstance(arguments, dict):
        path = arguments.get(SELECTION_KEY)
        if len(arguments) == 1 and isinstance(path, str):
            value = select({"calls": dict(results)}, path, _MISSING)
            if value is _MISSING or value is None:
                raise Problem(
                    ProblemKind.UNPROCESSABLE,
                    "selection_missing",
                    f"the earlier result has nothing at {path!r}, so the call that needs it cannot be made",
                    where=path,
                )
            return value
        return {key: resolve_selections(value, results) for key, value in arguments.items()}
    if isinstance(arguments, list | tuple):
        return [resolve_selections(value, results) for value in arguments]
    return arguments


def operation_result(step: PreparedStep, results: Mapping[str, JsonValue]) -> JsonObject:
    """The operation's result from its calls' results: the declared one, else the last call's. Absent parts are null."""
    if step.result is not None:
        return {name: _selected_or_null(value, results) for name, value in step.result.items()}
    last = results.get(step.calls[-1].id) if step.calls else None
    return dict(last) if isinstance(last, dict) else {}


def inverse_step(prepared: PreparedStep, before: JsonObject) -> Step | None:
    """The step that restores the configuration kept in `before`; None when there is none or it cannot be known."""
    inverse = prepared.operation.inverse
    if inverse is None:
        return None
    parameters = resolve_inverse(inverse.parameters, prepared.operation, prepared.step.parameters, before)
    if parameters is None:
        return None
    return Step(operation=inverse.operation, target=prepared.step.target, parameters=parameters)


@dataclass(frozen=True, slots=True)
class _Found:
    code: str
    detail: str
    where: str = ""
    allowed: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        found: JsonObject = {"code": self.code, "detail": self.detail}
        if self.where:
            found["where"] = self.where
        if self.allowed:
            found["allowed"] = list(self.allowed)
        return found


@dataclass(frozen=True)
class _StepError(Exception):
    found: tuple[_Found, ...]


@dataclass(frozen=True)
class _Translator:
    plan: Plan
    site: Site
    call_specs: Mapping[str, Mapping[str, CallSpec]]
    classify: Mapping[str, Classify]
    builtin: Classify = field(default=classify_builtin)

    def step(self, step: Step) -> PreparedStep:
        """One prepared step. Raises _StepError with all that is wrong with it."""
        operation, binding, found = self._things(step)
        parameters: JsonObject = {}
        if operation is not None:
            parameters = with_defaults(operation.parameters_schema, step.parameters)
            found.extend(_parameters(operation, parameters))
        if found or operation is None:
            raise _StepError(tuple(found))
        platform = BUILTIN if BUILTIN in operation.translations else self._platform()
        translation = self._translation(operation, platform)
        given = step.model_copy(update={"parameters": parameters})
        calls = self._calls(operation, translation, platform, parameters, binding)
        risk = max((operation.risk, *(call.risk for call in calls)), key=lambda level: level.rank)
        prepared = _with_verification(operation, parameters)
        return PreparedStep(
            step=given,
            operation=prepared,
            binding=binding,
            calls=calls,
            result=_resolved(translation.result, parameters, binding) if translation.result is not None else None,
            risk=risk,
            undo=undo_text(operation, parameters),
        )

    def _platform(self) -> str:
        return self.site.environments[self.plan.environment].platform

    def _things(self, step: Step) -> tuple[Operation | None, JsonObject, list[_Found]]:
        """The operation and the binding that a step names, and what does not exist."""
        found: list[_Found] = []
        environments, targets, operations = self.site.environments, self.site.targets, self.site.operations
        if self.plan.environment not in environments:
            found.append(_unknown("environment", self.plan.environment, tuple(environments)))
        operation = operations.get(step.operation)
        if operation is None:
            found.append(_unknown("operation", step.operation, tuple(sorted(operations))))
        target = targets.get(step.target)
        if target is None:
            # A verb without a platform needs no binding, yet it is about a target that exists.
            found.append(_unknown("target", step.target, tuple(sorted(targets))))
            return operation, {}, found
        binding = target.bindings.get(self.plan.environment)
        if binding is None and not (operation is not None and BUILTIN in operation.translations):
            bound = tuple(target.bindings)
            detail = f"target {step.target!r} is not bound in environment {self.plan.environment!r}"
            found.append(_Found("unbound_target", f"{detail}; it is bound in {', '.join(bound)}", "target", bound))
        return operation, dict(binding or {}), found

    def _translation(self, operation: Operation, platform: str) -> Translation:
        translation = operation.translations.get(platform)
        if translation is not None and translation.unsupported is None:
            return translation
        able = tuple(sorted(name for name, other in operation.translations.items() if other.unsupported is None))
        why = translation.unsupported if translation is not None else "it has no translation"
        detail = f"{operation.name} is not available on {platform}: {why}"
        raise _StepError((_Found("unsupported_on_platform", detail, "operation", able),))

    def _calls(
        self,
        operation: Operation,
        translation: Translation,
        platform: str,
        parameters: JsonObject,
        binding: JsonObject,
    ) -> tuple[Call, ...]:
        specs = BUILTIN_SPECS if platform == BUILTIN else self.call_specs.get(platform, {})
        classify = self.builtin if platform == BUILTIN else self.classify.get(platform)
        if classify is None:
            detail = f"no executor for the platform {platform!r} is installed"
            raise _StepError((_Found("unknown_platform", detail, "environment", tuple(self.classify)),))
        calls: list[Call] = []
        found: list[_Found] = []
        for number, template in enumerate(translation.calls, start=1):
            spec = specs.get(template.call)
            if spec is None:
                found.append(_unknown("call", template.call, tuple(specs)))
                continue
            try:
                arguments: JsonObject = _resolved(template.arguments, parameters, binding)
            except MissingItemError as error:
                found.append(_missing_item(operation, error.reference, binding))
                continue
            wrong = [_argument(operation, spec, problem) for problem in check_value(spec.arguments, arguments)]
            found.extend(wrong)
            if not wrong:
                calls.append(_call(operation, template, spec, arguments, classify, number))
        if found:
            raise _StepError(tuple(found))
        return tuple(calls)


def _call(
    operation: Operation, template: CallTemplate, spec: CallSpec, arguments: JsonObject, classify: Classify, number: int
) -> Call:
    try:
        mutates, risk = classify(template.call, arguments)
    except CallError as error:
        raise _StepError((_Found(error.code, error.message, "operation"),)) from None
    if mutates and not operation.mutates:
        detail = (
            f"{operation.name} says that it only reads, but with these arguments {template.call} would change something"
        )
        raise _StepError((_Found("mutating_call", detail, "operation"),))
    raised = template.risk or risk
    return Call(
        id=template.id or f"call_{number}",
        name=template.call,
        arguments=arguments,
        mutates=mutates,
        risk=max(raised, risk, key=lambda level: level.rank),
        timeout_seconds=spec.timeout_seconds,
        in_flight_seconds=spec.in_flight_seconds,
        provable=spec.provable and mutates,
    )


def _parameters(operation: Operation, parameters: JsonObject) -> list[_Found]:
    unusable = unusable_text(parameters)
    if unusable is not None:
        return [_Found("wrong_value", f"{operation.name}: a parameter {unusable}", "parameters")]
    found = [
        _Found(problem.code, f"{operation.name}: parameter {problem}", f"parameters.{problem.dotted}", problem.choices)
        for problem in check_value(operation.parameters_schema, parameters)
    ]
    if has_selection(parameters):
        detail = f"{operation.name}: the key {SELECTION_KEY!r} is reserved and cannot be used in a parameter"
        found.append(_Found("reserved_key", detail, "parameters"))
    return found


def _argument(operation: Operation, spec: CallSpec, problem: ValueProblem) -> _Found:
    return _Found(
        "invalid_argument", f"{operation.name}: {spec.name}: argument {problem}", problem.dotted, problem.choices
    )


def _missing_item(operation: Operation, reference: Reference, binding: JsonObject) -> _Found:
    known = tuple(f"{reference.root}.{name}" for name in binding) if reference.root == "target" else ()
    detail = f"{operation.name} needs {reference.dotted}, which the target's binding does not have"
    if reference.root != "target":
        detail = f"{operation.name} needs {reference.dotted}, which was not given"
    return _Found("missing_value", detail, reference.dotted, known)


def has_selection(value: JsonValue) -> bool:
    """Whether some value in it is selected from an earlier call's result, or would be taken for that."""
    if isinstance(value, dict):
        return SELECTION_KEY in value or any(has_selection(item) for item in value.values())
    return isinstance(value, list | tuple) and any(has_selection(item) for item in value)


def _resolved(template: JsonValue, parameters: JsonObject, binding: JsonObject) -> JsonValue:
    def lookup(reference: Reference) -> JsonValue:
        path = ".".join(reference.path)
        if reference.root == "calls":
            return {SELECTION_KEY: reference.dotted}
        source = parameters if reference.root == "parameters" else binding
        return select(source, path, OMITTED) if path else source

    return resolve(template, lookup)


def _with_verification(operation: Operation, parameters: JsonObject) -> Operation:
    """The operation with the parameters filled into its verification, so that nobody has to resolve it later."""
    verification = operation.verification
    if verification is None:
        return operation
    expect = []
    for condition in verification.expect:
        written = {name: getattr(condition, name) for name in condition.model_fields_set}
        filled = _resolved(written, parameters, {})
        # A condition on a parameter that was not given says nothing.
        if filled.keys() == written.keys():
            expect.append(Condition(**filled))
    if not expect:
        return operation.model_copy(update={"verification": None})
    filled_parameters = _resolved(verification.parameters, parameters, {})
    return operation.model_copy(
        update={
            "verification": verification.model_copy(update={"expect": tuple(expect), "parameters": filled_parameters})
        }
    )


def _selected_or_null(value: JsonValue, results: Mapping[str, JsonValue]) -> JsonValue:
    if isinstance(value, dict):
        path = value.get(SELECTION_KEY)
        if len(value) == 1 and isinstance(path, str):
            return select({"calls": dict(results)}, path, None)
        return {key: _selected_or_null(item, results) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_selected_or_null(item, results) for item in value]
    return value


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


def _unknown(what: str, given: str, choices: tuple[str, ...]) -> _Found:
    listed = ", ".join(choices) or "none"
    detail = f"no {what} is called {given!r:.120}; valid choices {listed}{did_you_mean(given, choices)}"
    return _Found(f"unknown_{what}", detail, what, choices)


def _refusal(errors: list[JsonObject], steps: int) -> Problem:
    codes = {str(error["code"]) for error in errors}
    invalid = codes <= {"unknown_parameter", "missing_parameter", "wrong_type", "wrong_value", "out_of_bounds"}
    code = (
        codes.copy().pop() if len(codes) == 1 and not invalid else ("invalid_parameters" if invalid else "invalid_plan")
    )
    shown = [f"step {error['step']}: {error['detail']}" if steps > 1 else str(error["detail"]) for error in errors]
    return Problem(
        ProblemKind.UNPROCESSABLE,
        code,
        "; ".join(shown),
        where=str(errors[0].get("where", "")),
        allowed=errors[0].get("allowed", ()),
        hint="nothing was executed",
        errors=tuple(errors),
    )
