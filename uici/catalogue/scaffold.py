"""The first text of a verb's file: sound as far as it goes, with a test that fails where only its author can go on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from uici.catalogue.draft import KNOWN_PLATFORMS
from uici.model.base import Frozen, JsonObject
from uici.model.call import CallSpec, Risk
from uici.model.errors import Problem, ProblemKind
from uici.model.operation import NAME
from uici.model.parameters import check_value
from uici.ports import Executor

KINDS: Mapping[str, JsonObject] = {
    "text": {"type": "string", "maxLength": 200},
    "number": {"type": "integer", "minimum": 0, "maximum": 1000},
    "boolean": {"type": "boolean"},
}
"""What a parameter can be, with the limits that are written for a start."""
_BINDINGS: Mapping[str, JsonObject] = {
    "local": {"program": "web"},
    "docker": {"container": "web"},
    "kubernetes": {"kind": "Deployment", "name": "web", "namespace": "shop"},
}
_UNSUPPORTED = "nothing is written for this platform yet"


class Parameter(Frozen):
    """A parameter as it was asked for."""

    name: str
    kind: str
    required: bool = False


class NewVerb(Frozen):
    """What is to be written."""

    name: str
    summary: str
    mutates: bool
    risk: Risk
    platforms: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()


def parameter(text: str) -> Parameter:
    """`name:kind`, or `name:kind:required`. Raises Problem (INVALID)."""
    name, _, rest = text.partition(":")
    kind, _, required = rest.partition(":")
    kind = kind or "text"
    if re.fullmatch(NAME, name) is None or kind not in KINDS or required not in ("", "required"):
        raise Problem(
            ProblemKind.INVALID,
            "bad_parameter",
            f"{text!r:.100} is no parameter; write NAME, NAME:KIND or NAME:KIND:required",
            where="--parameter",
            allowed=tuple(KINDS),
        )
    return Parameter(name=name, kind=kind, required=required == "required")


def write(verb: NewVerb, folder: Path, executors: Mapping[str, type[Executor]]) -> Path:
    """Write the verb's file into `folder`, which is made. Raises Problem; an existing file is never touched."""
    if re.fullmatch(NAME, verb.name) is None:
        raise Problem(
            ProblemKind.INVALID, "wrong_name", f"{verb.name!r:.100} is no name: it must match {NAME}", where="NAME"
        )
    path = folder / f"{verb.name}.yml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text_of(verb, executors))
    except FileExistsError:
        raise Problem(
            ProblemKind.CONFLICT, "exists", f"{path} is there already; nothing was written", where="NAME",
            hint="take another name, or edit that file",
        ) from None  # fmt: skip
    except OSError as error:
        raise Problem(
            ProblemKind.INVALID,
            "cannot_write",
            f"{path} cannot be written: {error.strerror or error}",
            where=str(folder),
        ) from None
    return path


def text_of(verb: NewVerb, executors: Mapping[str, type[Executor]]) -> str:
    """The file's text."""
    looks = {platform: look for platform in verb.platforms if (look := _look(platform, executors)) is not None}
    others = [each for each in (*KNOWN_PLATFORMS, *executors) if each in executors or each in verb.platforms]
    lines = [*_operation(verb), "", "translations:"]
    for platform in dict.fromkeys(others):
        if platform not in looks:
            lines.append(f"  {platform}: {{unsupported: {_UNSUPPORTED}}}")
            continue
        lines += [f"  {platform}:", "    calls:"]
        lines += [f'      - {{id: seen, call: {looks[platform]}, arguments: {{target: "${{target}}"}}}}']
        if verb.mutates:
            lines.append(
                "      # Here goes what changes something, for example with ${parameters.NAME} and ${calls.seen.FIELD}."
            )
    lines += ["", "tests:"]
    given = ", ".join(f"{each.name}: {_example(each)}" for each in verb.parameters if each.required)
    for platform, look in looks.items():
        target = json.dumps(_BINDINGS.get(platform, {}))
        lines += [
            f"  - name: {'the change is sent' if verb.mutates else 'it looks'} on {platform}",
            f"    platform: {platform}",
            f"    target: {target}",
            f"    parameters: {{{given}}}",
            "    expect:",
            f"      - {{call: {look}, arguments: {{target: {target}}}}}",
        ]
        if verb.mutates:
            lines += [
                "      # Until the translation makes this call, the test fails and no server takes the file.",
                "      - {call: write.here, arguments: {what: the call that changes something}}",
            ]
    return "\n".join(lines) + "\n"


def _operation(verb: NewVerb) -> list[str]:
    lines = [
        "# A verb that is only this file; see docs/operations.md. The file's name is the verb's.",
        f"# Check it: uici operations lint {verb.name}.yml, and uici operations test {verb.name}.yml",
        "",
        "operation:",
        f"  summary: {json.dumps(verb.summary, ensure_ascii=False)}",
        f"  risk: {verb.risk.value}",
        f"  mutates: {'true' if verb.mutates else 'false'}",
    ]
    if verb.parameters:
        lines.append("  parameters:")
        for each in verb.parameters:
            schema = ", ".join(f"{key}: {value}" for key, value in KINDS[each.kind].items())
            lines.append(f"    {each.name}: {{{schema}, description: say what {each.name} means}}")
        required = [each.name for each in verb.parameters if each.required]
        if required:
            lines.append(f"  required: [{', '.join(required)}]")
    lines += ["  returns:", "    state: whether it runs"]
    if verb.mutates:
        lines += [
            "  preconditions:",
            "    - {field: state, equals: running}",
            "  # What can be undone says how: before (the state to keep) and inverse (the verb that restores it).",
            "  reversible: false",
            "  irreversible_because: say here why nothing can take it back, or give before and inverse instead",
            "  verification:",
            "    read: get_service_status",
            "    expect: [{field: state, equals: running}]",
        ]
    return lines


def _look(platform: str, executors: Mapping[str, type[Executor]]) -> str | None:
    """A call that only reads and needs nothing but the target; None where there is none."""
    executor = executors.get(platform)
    if executor is None or platform not in _BINDINGS:
        return None
    fitting = [spec.name for spec in executor.call_specs.values() if _needs_the_target_alone(spec, platform)]
    return next((name for name in fitting if name.endswith(".status")), fitting[0] if fitting else None)


def _needs_the_target_alone(spec: CallSpec, platform: str) -> bool:
    return not spec.mutates and not spec.open and not check_value(spec.arguments, {"target": dict(_BINDINGS[platform])})


def _example(parameter: Parameter) -> str:
    return {"number": "1", "boolean": "true"}.get(parameter.kind, "something")
