"""Plans that people write by hand, as JSON. Everything wrong with one is said at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import ValidationError

from uici.model.base import JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.masking import is_secret_key
from uici.model.operation import Operation
from uici.model.plan import Origin, Plan, Step, VerifySettings
from uici.model.site import Site

_KEYS = ("environment", "steps", "reason", "verify", "origin", "strategy", "remedy", "authored")
_STEP_KEYS = ("operation", "target", "parameters")
_MOST_STEPS = 50


def parse_plan(document: object, site: Site) -> Plan:
    """A hand-written plan, checked against the site's environments, targets and operations.

    `environment` defaults to the site's. What a shown plan says of its `origin`, `strategy`, `remedy` and author is
    accepted and dropped: whoever hands in a plan is its author. Raises `Problem` of kind UNPROCESSABLE, or INVALID when
    the document is no object; all that is wrong is in its `errors`, each with a JSON pointer.
    """
    if not isinstance(document, dict):
        detail = f"a plan is a JSON object with {', '.join(_KEYS[:4])}; got {type(document).__name__}"
        raise Problem(ProblemKind.INVALID, "not_an_object", detail)
    errors: list[JsonObject] = []
    _unknown_keys(document, _KEYS, "", errors)
    environment = _environment(document.get("environment", site.default_environment), site, errors)
    reason = document.get("reason", "written by a human")
    if not isinstance(reason, str) or len(reason) > 2000:
        errors.append(_error("/reason", "not_a_text", "must be a text of at most 2000 characters"))
    verify = _verify(document.get("verify"), errors)
    steps = _steps(document.get("steps"), environment, site, errors)
    if errors:
        more = f"; and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "invalid_plan",
            f"{errors[0]['pointer'] or '/'}: {errors[0]['detail']}{more}",
            where=str(errors[0]["pointer"]),
            errors=tuple(errors),
            hint="correct all of `errors` and hand the plan in again; nothing was executed",
        )
    return Plan(environment=str(environment), steps=steps, origin=Origin.HUMAN, reason=reason, verify=verify)


def _environment(given: object, site: Site, errors: list[JsonObject]) -> str | None:
    if isinstance(given, str) and given in site.environments:
        return given
    hint = did_you_mean(given, site.environments) if isinstance(given, str) else ""
    known = ", ".join(site.environments) or "none"
    detail = f"{given!r:.80} is no environment of this site; known: {known}{hint}"
    errors.append(_error("/environment", "unknown_environment", detail))
    return None


def _verify(given: object, errors: list[JsonObject]) -> VerifySettings | None:
    if given is None:
        return None
    try:
        return VerifySettings.model_validate(given, strict=True)
    except ValidationError as error:
        for found in error.errors():
            field = "".join(f"/{part}" for part in found["loc"])
            detail = found["msg"]
            if found["type"] == "extra_forbidden" and found["loc"]:
                detail = f"unknown key; known: {', '.join(VerifySettings.model_fields)}"
                detail += did_you_mean(str(found["loc"][-1]), VerifySettings.model_fields)
            errors.append(_error(f"/verify{field}", "bad_verify", detail))
        return None


def _steps(given: object, environment: str | None, site: Site, errors: list[JsonObject]) -> tuple[Step, ...]:
    if not isinstance(given, list) or not 1 <= len(given) <= _MOST_STEPS:
        errors.append(_error("/steps", "bad_steps", f"must be a list of 1 to {_MOST_STEPS} steps"))
        return ()
    steps = [_step(step, f"/steps/{number}", environment, site, errors) for number, step in enumerate(given)]
    return tuple(step for step in steps if step is not None)


def _step(given: object, where: str, environment: str | None, site: Site, errors: list[JsonObject]) -> Step | None:
    if not isinstance(given, dict):
        errors.append(_error(where, "not_an_object", f"a step is an object with {', '.join(_STEP_KEYS)}"))
        return None
    before = len(errors)
    _unknown_keys(given, _STEP_KEYS, where, errors)
    name, target = given.get("operation"), given.get("target")
    operation = site.operations.get(name) if isinstance(name, str) else None
    if operation is None:
        hint = did_you_mean(name, site.operations) if isinstance(name, str) else ""
        detail = f"{name!r:.80} is no operation{hint}; known: {', '.join(sorted(site.operations)) or 'none'}"
        errors.append(_error(f"{where}/operation", "unknown_operation", detail))
    spec = site.targets.get(target) if isinstance(target, str) else None
    if spec is None:
        hint = did_you_mean(target, site.targets) if isinstance(target, str) else ""
        errors.append(_error(f"{where}/target", "unknown_target", f"{target!r:.80} is no target of targets.yml{hint}"))
    elif environment is not None and environment not in spec.bindings:
        detail = f"{target!r} is not bound in {environment!r}; it is in {', '.join(spec.bindings)}"
        errors.append(_error(f"{where}/target", "target_not_bound", detail))
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        errors.append(_error(f"{where}/parameters", "not_an_object", "must be an object"))
    elif operation is not None:
        errors.extend(_wrong_parameters(operation, parameters, f"{where}/parameters"))
    if len(errors) > before:
        return None
    return Step(operation=str(name), target=str(target), parameters=parameters)


def _wrong_parameters(operation: Operation, parameters: JsonObject, where: str) -> Iterator[JsonObject]:
    pointer = _first_number_that_is_none(parameters, where)
    if pointer is not None:
        yield _error(pointer, "not_a_number", "NaN and infinities are no JSON numbers")
        return
    known = operation.parameters
    for name in parameters:
        if name not in known:
            allowed = ", ".join(known) or "none"
            detail = f"{operation.name} has no parameter {name!r:.80}{did_you_mean(name, known)}; it takes: {allowed}"
            yield _error(f"{where}/{_escaped(name)}", "unknown_parameter", detail)
    for name in operation.required:
        if name not in parameters:
            yield _error(f"{where}/{_escaped(name)}", "missing_parameter", f"{operation.name} needs {name!r}")
    # Extra and missing names have been told above, in better words than a schema's.
    given = {name: value for name, value in parameters.items() if name in known}
    validator: Any = Draft202012Validator({"type": "object", "properties": known})
    for error in validator.iter_errors(given):
        path = "".join(f"/{_escaped(str(part))}" for part in error.absolute_path)
        # The validator's own words quote what was given.
        secret = any(is_secret_key(str(part)) for part in error.absolute_path)
        detail = f"does not satisfy {error.validator}: {error.validator_value!r}" if secret else error.message
        yield _error(where + path, "bad_parameter", detail[:500])


def _first_number_that_is_none(value: JsonValue, where: str) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return where
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found = _first_number_that_is_none(item, f"{where}/{_escaped(str(key))}")
        if found is not None:
            return found
    return None


def _unknown_keys(document: JsonObject, known: tuple[str, ...], where: str, errors: list[JsonObject]) -> None:
    for key in document:
        if key not in known:
            detail = f"unknown key{did_you_mean(str(key), known)}; known: {', '.join(known)}"
            errors.append(_error(f"{where}/{_escaped(str(key))}", "unknown_key", detail))


def _escaped(text: str) -> str:
    return text[:200].replace("~", "~0").replace("/", "~1")


def _error(pointer: str, code: str, detail: str) -> JsonObject:
    return {"pointer": pointer, "code": code, "detail": detail}
