"""From observations to findings. Pure; an observation that could not be made never establishes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uici.model.base import JsonObject, JsonValue, canonical_json
from uici.model.condition import Condition, all_hold, select
from uici.model.incident import Finding, Observation
from uici.model.masking import mask
from uici.model.site import FindingRule, RemedyStep, Strategy

EVIDENCE_CHARACTERS = 500
"""Longest text kept as evidence; a log line may be far longer, and an incident is read by people."""

_EVIDENCE_ITEMS = 5


def find(observations: Sequence[Observation], rules: Mapping[str, FindingRule]) -> tuple[Finding, ...]:
    """The findings that `observations` establish, in the order of the rules.

    Each rule gives at most one finding, from the first of its `when` that holds; its evidence is an object of the
    fields that the conditions looked at.
    """
    seen: dict[str, list[Observation]] = {}
    for observation in observations:
        # `exists: false` would hold for a result that nobody got.
        if observation.result is not None:
            seen.setdefault(observation.operation, []).append(observation)
    found = (_first(name, rule, seen) for name, rule in rules.items())
    return tuple(finding for finding in found if finding is not None)


def required_operations(strategy: Strategy, rules: Mapping[str, FindingRule]) -> tuple[RemedyStep, ...]:
    """The reads that a diagnosis for `strategy` has to make, each once.

    First what the strategy lists under `diagnose`; then, for each finding that a rung asks for and that none of
    these reads could establish, the read of the first evidence of its rule.
    """
    steps = _distinct(strategy.diagnose)
    known = {step.operation for step in steps}
    for remedy in strategy.remedies:
        for wanted in (*remedy.when.all, *remedy.when.any, *remedy.when.none):
            rule = rules.get(wanted)
            if rule is None or any(evidence.operation in known for evidence in rule.when):
                continue
            steps.append(RemedyStep(operation=rule.when[0].operation))
            known.add(rule.when[0].operation)
    return tuple(steps)


def _distinct(steps: Sequence[RemedyStep]) -> list[RemedyStep]:
    return list({(step.operation, canonical_json(step.parameters)): step for step in steps}.values())


def _first(name: str, rule: FindingRule, seen: Mapping[str, Sequence[Observation]]) -> Finding | None:
    for evidence in rule.when:
        for observation in seen.get(evidence.operation, ()):
            if all_hold(evidence.all, observation.result):
                return Finding(
                    name=name,
                    summary=rule.summary,
                    operation=observation.operation,
                    evidence=_evidence(evidence.all, observation.result),
                )
    return None


def _evidence(conditions: Sequence[Condition], result: JsonValue) -> JsonObject:
    # Masked before it is cut: half of a secret is not recognised any more.
    shown: JsonObject = mask({condition.field: _shown(condition, result) for condition in conditions})
    return {
        field: [_bounded(item) for item in value] if isinstance(value, list) else _bounded(value)
        for field, value in shown.items()
    }


def _shown(condition: Condition, result: JsonValue) -> JsonValue:
    value = select(result, condition.field)
    if isinstance(value, list):
        if condition.matches is not None:
            # The lines that matched say more than the lines that happened to come first.
            single = condition.field.rpartition(".")[2] or condition.field
            value = [item for item in value if condition.model_copy(update={"field": single}).holds({single: item})]
        value = value[:_EVIDENCE_ITEMS]
    return value


def _bounded(value: JsonValue) -> JsonValue:
    if isinstance(value, dict | list):
        value = canonical_json(value) if len(value) else value
    if isinstance(value, str) and len(value) > EVIDENCE_CHARACTERS:
        return value[: EVIDENCE_CHARACTERS - 1] + "…"
    return value
