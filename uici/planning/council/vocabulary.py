"""The closed vocabulary of one incident: which operations a model may name, and on which targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from uici.model.base import JsonObject, JsonValue
from uici.model.council import CouncilSettings
from uici.model.operation import BUILTIN, Operation
from uici.model.site import Site
from uici.model.topology import Place, topology_of

LONGEST_TEXT = 2000
"""Characters of a text that the model writes for people."""
MOST_STEPS = 10
_UNDERSTOOD = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"}
    | {"maxLength", "maxItems", "minItems"}
)
"""Keywords that servers with constrained output commonly take; what the others say is checked afterwards.

Source: https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""


@dataclass(frozen=True)
class Vocabulary:
    """What a model may name for one incident."""

    target: str
    """The only one that a plan may change."""
    readable: tuple[str, ...]
    """Those that may be looked at: the target, what it depends on, the others of its group."""
    reading: Mapping[str, Operation]
    changing: Mapping[str, Operation]

    @property
    def operations(self) -> dict[str, Operation]:
        """All of them by name."""
        return {**self.reading, **self.changing}

    def described(self) -> list[JsonObject]:
        """The operations as the model is told of them."""
        return [
            {
                "operation": operation.name,
                "summary": operation.summary,
                "changes_something": operation.mutates,
                "risk": operation.risk.value,
                "parameters": operation.parameters,
                "required": list(operation.required),
            }
            for operation in self.operations.values()
        ]

    def schema(self, *, may_look: bool) -> JsonObject:
        """The JSON Schema of an answer, in keywords that servers can constrain their output by."""
        kinds = [_act(self), _hand_over()]
        if may_look and self.reading:
            kinds.insert(0, _look(self))
        return _object({"reasoning": _text(), "decision": {"anyOf": kinds}})


def vocabulary_of(site: Site, environment: str, target: str, settings: CouncilSettings) -> Vocabulary:
    """The operations that the environment's platform has, or that need none, as far as the settings offer them."""
    platform = site.environments[environment].platform
    offered = [
        operation
        for name, operation in site.operations.items()
        if (settings.operations is None or name in settings.operations)
        and name not in settings.never
        and any(operation.translations[key].calls for key in (platform, BUILTIN) if key in operation.translations)
    ]
    return Vocabulary(
        target=target,
        readable=tuple(dict.fromkeys((target, *_neighbours(site, environment, target)))),
        reading={operation.name: operation for operation in offered if not operation.mutates},
        changing={operation.name: operation for operation in offered if operation.mutates},
    )


def _neighbours(site: Site, environment: str, target: str) -> list[str]:
    """What the target depends on where it is itself, and the others of its group there."""
    needs = [place.target for place in topology_of(site).needs(Place(environment, target)) if place[0] == environment]
    group = site.targets[target].group if target in site.targets else None
    if group is not None:
        needs += [name for name, spec in site.targets.items() if spec.group == group and environment in spec.bindings]
    return needs


def _look(vocabulary: Vocabulary) -> JsonObject:
    steps = [_step(operation, vocabulary.readable) for operation in vocabulary.reading.values()]
    return _kind("look", {"operations": {"type": "array", "items": {"anyOf": steps}, "minItems": 1, "maxItems": 5}})


def _act(vocabulary: Vocabulary) -> JsonObject:
    steps = [_step(operation, (vocabulary.target,)) for operation in vocabulary.operations.values()]
    items: JsonObject = {"anyOf": steps}
    return _kind("act", {"steps": {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_STEPS}})


def _hand_over() -> JsonObject:
    """Leaving it to people, with a verb that would have been needed where there is one."""
    verb = _object({"name": {"type": "string", "maxLength": 63}, "summary": _text(), "how": _text()})
    kind = _kind("hand_over", {"because": _text(), "missing_verb": verb})
    kind["required"].remove("missing_verb")
    return kind


def _step(operation: Operation, targets: tuple[str, ...]) -> JsonObject:
    parameters = {
        "type": "object",
        "properties": {name: _plain(schema) for name, schema in operation.parameters.items()},
        "required": list(operation.required),
        "additionalProperties": False,
    }
    return _object(
        {
            "operation": {"type": "string", "enum": [operation.name]},
            "target": {"type": "string", "enum": list(targets)},
            "parameters": parameters,
        }
    )


def _plain(schema: JsonValue) -> JsonValue:
    """A schema without the keywords that not every server takes."""
    if not isinstance(schema, dict):
        return schema
    kept: JsonObject = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _plain(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties"):
            kept[key] = _plain(value)
        elif key == "anyOf":
            kept[key] = [_plain(inner) for inner in value]
        elif key in _UNDERSTOOD:
            kept[key] = value
    return kept


def _kind(name: str, more: JsonObject) -> JsonObject:
    return _object({"kind": {"type": "string", "enum": [name]}, **more})


def _object(properties: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text() -> JsonObject:
    return {"type": "string", "maxLength": LONGEST_TEXT}
