"""The next remedy of a run: a rung of the ladder, or one of several alternatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from uici.guard.judging import judge
from uici.model.base import JsonObject
from uici.model.call import CallError
from uici.model.condition import all_hold
from uici.model.errors import Problem
from uici.model.filling import IncidentValues
from uici.model.learning import Choice, Masked, Veto, finding_set
from uici.model.plan import Plan, PreparedPlan
from uici.model.site import Remedy
from uici.model.verdict import Answer, Decision
from uici.planning.choosing import choose, weigh
from uici.planning.evidence import Candidate, candidates_of, priors_of
from uici.planning.ladder import next_rungs, plan_for, refuse_self
from uici.runs import outcomes
from uici.runs.guarding import context_of
from uici.runs.platforms import Platforms
from uici.runs.services import Services


@dataclass(frozen=True)
class Situation:
    """For what a remedy is wanted."""

    strategy: str
    values: IncidentValues
    findings: frozenset[str]
    tried: tuple[str, ...]
    run_id: str
    reason: str
    impossible: tuple[str, ...] = ()
    """Remedies that cannot be translated here. They come no more, but they are no rungs: nothing was tried."""

    @property
    def rung(self) -> int:
        """The number of the rung that comes next."""
        return len(self.tried) + 1


@dataclass(frozen=True)
class Next:
    """The plans that come into question now: one rung, several alternatives, or none when the ladder has ended."""

    plans: tuple[Plan, ...]
    group: str | None
    vetoed: Mapping[str, str]
    """Remedies of the strategy that are vetoed here, with the reason in words."""


@dataclass(frozen=True)
class Alternatives:
    """What speaks for and against each of several plans, as declared."""

    group: str
    findings: str
    candidates: tuple[Candidate, ...]
    masked: Mapping[str, str]
    """What cannot be taken now, and why."""
    position: int
    otherwise: str
    """What is taken when nothing can: the first that nobody has vetoed, so that the ladder goes on beyond it."""


def next_plans(
    services: Services, platforms: Platforms, situation: Situation, in_force: tuple[Veto, ...] | None = None
) -> Next:
    """What comes next on the ladder, under the vetoes that are in force; they are read when they are not given.

    Raises KeyError when the configuration has no such strategy.
    """
    if in_force is None:
        with services.store.read() as connection:
            in_force = outcomes.vetoes_in_force(connection)
    strategy, values = situation.strategy, situation.values
    vetoed = outcomes.vetoed_remedies(in_force, strategy, values.environment, values.target)
    gone = (*situation.tried, *situation.impossible)
    rungs = next_rungs(platforms.site, strategy, situation.findings, gone, values, vetoed)
    plans = tuple(plan_for(rung, strategy, situation.reason, values) for rung in rungs)
    return Next(plans=plans, group=rungs[0].alternative if rungs else None, vetoed=vetoed)


def alternatives(
    services: Services,
    platforms: Platforms,
    situation: Situation,
    found: Next,
    passing: Callable[[Decision], bool],
) -> Alternatives:
    """What was seen of the plans of one group, and which cannot be taken now.

    A denial that meets all alike, or that `passing` says is lifted by time alone, speaks against none of them: the
    guards will say so of the one that is taken.
    """
    settings = services.site().policies.learning
    with services.store.read() as connection:
        seen = outcomes.outcomes_of(connection, situation.strategy, settings, services.clock.now())
    masked = {name: why for name, why in found.vetoed.items() if name in {plan.remedy for plan in found.plans}}
    prepared: dict[str, PreparedPlan] = {}
    for plan in found.plans:
        name = plan.remedy or ""
        own = refuse_self(plan, platforms.site, services.identity, services.layers)
        if own.answer is Answer.DENY:
            masked[name] = f"self-target: {own.reason}"
        if name in masked:
            continue
        try:
            prepared[name] = platforms.prepare(plan)
        except Problem as problem:
            masked[name] = f"it cannot be translated: {problem.detail}"
    masked |= _denied(services, prepared, situation, passing)
    masked |= _unmet(platforms, {name: plan for name, plan in prepared.items() if name not in masked})
    names = [plan.remedy for plan in found.plans]
    ladder = platforms.site.strategies[situation.strategy].remedies
    key = finding_set(situation.findings)
    return Alternatives(
        group=found.group or "",
        findings=key,
        candidates=candidates_of(priors_of(item for item in ladder if item.name in names), seen, key),
        masked={plan.remedy: masked[plan.remedy] for plan in found.plans if plan.remedy in masked},
        position=1 + _tried_before(ladder, found.group, situation.tried),
        otherwise=next((str(name) for name in names if name not in found.vetoed), str(names[0])),
    )


def foreseen(services: Services, found: Alternatives, kept: Choice | None) -> JsonObject:
    """For a preview: what could be taken with which probability, or what the run has `kept` as its choice."""
    names = {candidate.name for candidate in found.candidates}
    if kept is not None and kept.alternative == found.group and kept.chosen in names:
        candidates, masked, shown = kept.candidates, kept.masked, kept.chosen
    else:
        settings = services.site().policies.learning
        kept = None
        candidates = weigh(found.candidates, found.masked, settings, services.clock.now())
        masked = tuple(Masked(name=name, why=why) for name, why in found.masked.items())
        likeliest = max(candidates, key=lambda item: item.probability, default=None)
        shown = likeliest.name if likeliest is not None else found.otherwise
    return {
        "group": found.group,
        "findings": found.findings,
        "recorded": kept is not None,
        "shown": shown,
        "candidates": [item.model_dump(mode="json") for item in candidates],
        "masked": [item.model_dump(mode="json") for item in masked],
    }


def drawn(services: Services, situation: Situation, found: Alternatives) -> tuple[Choice, bool]:
    """The choice for the run's next rung, and whether it is new: what was chosen before a crash stays chosen."""
    settings = services.site().policies.learning
    with services.store.read() as connection:
        known = outcomes.choice_of(connection, situation.run_id, situation.rung)
    if (
        known is not None
        and (known.alternative, known.findings, known.policy) == (found.group, found.findings, settings.policy)
        and {item.name for item in known.masked} == set(found.masked)
        and {item.name for item in known.candidates} == {item.name for item in found.candidates} - set(found.masked)
    ):
        return known, False
    choice = choose(
        found.candidates,
        found.masked,
        settings,
        services.clock.now(),
        alternative=found.group,
        findings=found.findings,
        position=found.position,
        seed=f"{situation.run_id}:{situation.rung}",
        otherwise=found.otherwise,
    )
    return choice, True


def _tried_before(ladder: Sequence[Remedy], group: str | None, tried: tuple[str, ...]) -> int:
    return sum(remedy.alternative == group and remedy.name in tried for remedy in ladder)


def _denied(
    services: Services,
    plans: Mapping[str, PreparedPlan],
    situation: Situation,
    passing: Callable[[Decision], bool],
) -> dict[str, str]:
    """Those that the guards would deny while they would not deny all, and what they say."""
    if not plans:
        return {}
    avoided = {Answer.DENY}
    if services.site().policies.learning.avoid_approval:
        avoided.add(Answer.NEEDS_APPROVAL)
    first = next(iter(plans.values()))
    # The remedies of one incident differ in their plans only.
    shared = context_of(services, first, run_id=situation.run_id, approved=False, first_rung=not situation.tried)
    objections = {
        name: {
            (item.guard, item.rule): f"{item.guard}: {item.reason}"
            for item in judge(replace(shared, plan=plan))
            if item.answer in avoided and not passing(item)
        }
        for name, plan in plans.items()
    }
    common = set.intersection(*(set(found) for found in objections.values()))
    return {
        name: "; ".join(said for rule, said in found.items() if rule not in common)
        for name, found in objections.items()
        if set(found) - common
    }


def _unmet(platforms: Platforms, plans: Mapping[str, PreparedPlan]) -> dict[str, str]:
    """Those whose first step's preconditions do not hold now. What cannot be read is left to the run to find out."""
    wanted = {name: plan.steps[0].operation for name, plan in plans.items() if plan.steps[0].operation.preconditions}
    if not wanted:
        return {}
    any_plan = next(iter(plans.values()))
    try:
        status = platforms.read(any_plan.plan.environment, any_plan.steps[0].step.target, "get_service_status")
    except (CallError, Problem):
        return {}
    return {
        name: f"precondition of {operation.name} does not hold: "
        + "; ".join(condition.describe() for condition in operation.preconditions)
        for name, operation in wanted.items()
        if not all_hold(operation.preconditions, status)
    }
