"""The ladder of a strategy: which remedy comes next. Pure."""

from __future__ import annotations

from collections.abc import Collection

from uici.model.filling import IncidentValues, MissingValueError
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import Origin, Plan, Step
from uici.model.site import Remedy, Site
from uici.model.verdict import Answer, Decision


def next_rungs(
    site: Site,
    strategy_name: str,
    findings: frozenset[str],
    tried: Collection[str],
    values: IncidentValues,
    vetoed: Collection[str] = (),
) -> tuple[Remedy, ...]:
    """The first rung that the findings allow and that was not tried, with its alternatives, in the order of writing.

    `findings` holds names of findings, `tried` and `vetoed` names of remedies. A rung that refers to what the incident
    lacks is passed over, and so is one that is vetoed; when there are no others the first of these is given, for the
    guard to deny it. Among alternatives the vetoed are given too: whoever chooses leaves them out. Empty when the
    ladder has ended. Raises KeyError when the site has no such strategy.
    """
    open_rungs = [
        remedy
        for remedy in site.strategies[strategy_name].remedies
        if remedy.name not in tried and remedy.when.satisfied_by(findings) and _lacks(remedy, values) is None
    ]
    first = next((remedy for remedy in open_rungs if remedy.name not in vetoed), None) or next(iter(open_rungs), None)
    if first is None or first.alternative is None:
        return () if first is None else (first,)
    return tuple(remedy for remedy in open_rungs if remedy.alternative == first.alternative)


def plan_for(remedy: Remedy, strategy_name: str, reason: str, values: IncidentValues) -> Plan:
    """The plan of one rung for one incident; its values go where the parameters refer to them.

    Raises MissingValueError for a remedy that `next_rungs` passes over.
    """
    return Plan(
        environment=values.environment,
        steps=tuple(
            Step(operation=step.operation, target=values.target, parameters=values.fill(step.parameters))
            for step in remedy.steps
        ),
        origin=Origin.RULE,
        reason=reason,
        strategy=strategy_name,
        remedy=remedy.name,
        verify=remedy.verify,
    )


def explain(
    site: Site, strategy_name: str, findings: frozenset[str], tried: Collection[str], values: IncidentValues
) -> list[tuple[str, str]]:
    """Each rung that `next_rungs` would pass over now, vetoes aside, with the reason, in the ladder's order.

    Raises KeyError when the site has no such strategy.
    """
    skipped = []
    for remedy in site.strategies[strategy_name].remedies:
        if remedy.name in tried:
            skipped.append((remedy.name, "it was tried already"))
        elif not remedy.when.satisfied_by(findings):
            skipped.append((remedy.name, _unmet(remedy, findings)))
        elif (lacking := _lacks(remedy, values)) is not None:
            skipped.append((remedy.name, lacking))
    return skipped


def refuse_self(plan: Plan, site: Site, identity: SelfIdentity, layers: SelfGuardLayers) -> Decision:
    """The self-target guard at the layer `planning`: UICI may be watched, it may never be acted on.

    Looks at each step that may change something: its target's name, aliases and binding. An operation that the site
    does not know counts as one that changes something.
    """
    if not layers.planning:
        return _decision(Answer.ALLOW, None, "the layer planning of the self-target guard is off")
    for number, step in enumerate(plan.steps, start=1):
        operation = site.operations.get(step.operation)
        if operation is not None and not operation.mutates:
            continue
        spec = site.targets.get(step.target)
        names = (step.target, *(spec.aliases if spec else ()))
        by = identity.is_target(names, spec.bindings.get(plan.environment) if spec else None)
        if by is not None:
            reason = f"step {number}, {step.operation} on {step.target!r}, would act on UICI itself, reached as {by!r}"
            return _decision(Answer.DENY, by, reason)
    return _decision(Answer.ALLOW, None, "no step acts on UICI itself")


def _lacks(remedy: Remedy, values: IncidentValues) -> str | None:
    """What the remedy requires, or its parameters refer to, and the incident does not have."""
    try:
        values.fill({"requires": remedy.requires})
        for step in remedy.steps:
            values.fill(step.parameters)
    except MissingValueError as error:
        return str(error)
    return None


def _unmet(remedy: Remedy, established: frozenset[str]) -> str:
    when = remedy.when
    reasons = []
    if when.any and not established & set(when.any):
        reasons.append(f"needs any of {', '.join(when.any)}")
    missing = [name for name in when.all if name not in established]
    if missing:
        reasons.append(f"needs {', '.join(missing)}")
    present = [name for name in when.none if name in established]
    if present:
        reasons.append(f"not with {', '.join(present)}")
    return f"{'; '.join(reasons)} (found: {', '.join(sorted(established)) or 'nothing'})"


def _decision(answer: Answer, value: str | None, reason: str) -> Decision:
    return Decision(guard="self-target", answer=answer, rule="planning", value=value, reason=reason)
