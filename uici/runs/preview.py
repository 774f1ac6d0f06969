"""Previews: the same road as a run up to execution, without writing anything.

Diagnosis and the comparison with the state after do look at the platform, by operations that are read-only; nothing is
committed, taken or sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from uici.access.reach import require_place
from uici.guard.judging import judge
from uici.intake.targeting import index_of
from uici.model.alert import Alert, AlertOutcome, AlertStatus, Notification
from uici.model.base import JsonObject
from uici.model.errors import Problem
from uici.model.incident import Observation
from uici.model.learning import Choice
from uici.model.plan import Plan
from uici.model.scope import EVERYTHING, Scope
from uici.model.topology import Place, topology_of
from uici.model.verdict import Answer
from uici.planning.ladder import explain, refuse_self
from uici.runs import choosing, outcomes, records
from uici.runs.changes import changes_of
from uici.runs.consulting import consults
from uici.runs.guarding import Seen, context_of, seen_now
from uici.runs.reading import incident_row
from uici.runs.rehearsing import with_rehearsals
from uici.runs.services import Services
from uici.runs.showing import masked, of_prepared, shape
from uici.runs.stages.opening import blind, choose_fallback, choose_strategy, look, unseen, values_of
from uici.runs.stages.planning import because, lifted_by_time


def of_notification(
    services: Services, notification: Notification, environment: str | None, scope: Scope = EVERYTHING
) -> JsonObject:
    """What would be done about a payload: one preview per target, and what becomes of the other alerts.

    Raises Problem for an alert about what is not within the scope.
    """
    index = index_of(services.site())
    groups: dict[tuple[str, str], list[Alert]] = {}
    previews: list[JsonObject] = []
    for alert in notification.alerts:
        found = services.site().strategy_for(alert)
        if alert.status is AlertStatus.RESOLVED:
            previews.append(_nothing(alert, AlertOutcome.SELF_RESOLVED, "it is resolved: nothing is planned for it"))
            continue
        if found is not None and found[1].action == "ignore":
            previews.append(_nothing(alert, AlertOutcome.IGNORED_BY_RULE, f"strategy {found[0]} ignores it"))
            continue
        if found is not None and found[1].action == "heartbeat":
            why = f"strategy {found[0]}: a heartbeat; only its absence opens an incident"
            previews.append(_nothing(alert, AlertOutcome.IGNORED_BY_RULE, why))
            continue
        targeted = index.resolve(alert, services.identity, services.layers)
        place = environment or targeted.environment
        if targeted.is_self:
            previews.append(_nothing(alert, AlertOutcome.REFUSED, f"self_target: {targeted.reason}"))
        elif targeted.target is None or place is None:
            more = "; the platform would be asked" if targeted.needs_lookup else ""
            previews.append(_nothing(alert, AlertOutcome.ESCALATED, f"no_target: {targeted.reason}{more}"))
        else:
            require_place(scope, place, targeted.target)
            groups.setdefault((place, targeted.target), []).append(alert)
    places = topology_of(services.site()).ordered(Place(*place) for place in groups)
    for each in places:
        others = [other for other in places if other != each]
        previews.append(_of_alerts(services, groups[each], each.environment, each.target, beside=others))
    return masked({"previews": previews})


def of_incident(services: Services, incident_id: str, environment: str | None, scope: Scope = EVERYTHING) -> JsonObject:
    """What would be done about an incident now. Raises Problem when there is none of this id within the scope."""
    with services.store.read() as connection:
        row = incident_row(connection, incident_id)
        require_place(scope, row.environment, row.target)
        require_place(scope, environment or row.environment, row.target)
        firing = records.firing_alerts(connection, incident_id)
    place = environment or row.environment
    if row.target is None or place is None:
        shown = shape(environment=place, target=row.target, outcome="escalated", notes=[row.reason])
    else:
        shown = _of_alerts(services, firing, place, row.target, run_id=row.run_id)
    return masked({"previews": [shown]})


def of_plan(services: Services, plan: Plan) -> JsonObject:
    """What carrying out a plan would do. Raises Problem with all that is wrong with it."""
    return masked({"previews": [_of_plan(services, plan)]})


def _of_alerts(
    services: Services,
    alerts: Sequence[Alert],
    environment: str,
    target: str,
    *,
    run_id: str | None = None,
    beside: Collection[Place] = (),
) -> JsonObject:
    """What would be done about these firing alerts of one target, by their run where there is one already."""
    site = services.site()
    chosen = choose_strategy(site, list(alerts))
    names = sorted({alert.name for alert in alerts})
    if chosen is None or chosen[1].action == "escalate":
        why = (
            f"strategy {chosen[0]} asks for a human"
            if chosen
            else f"no rule of strategies.yml covers {', '.join(names)}"
        )
        asks = chosen is None and consults(site, environment, target)
        fallback = choose_fallback(site, list(alerts)) if asks else None
        notes = [why]
        if asks:
            notes.append("a run would ask the council for a plan; a preview does not")
        if fallback is not None:
            ladder = ", then ".join(remedy.name for remedy in fallback[1].remedies)
            notes.append(f"without a plan in time it would go on by the fallback strategy {fallback[0]}: {ladder}")
        return shape(
            environment=environment,
            target=target,
            alerts=names,
            outcome="would ask the council" if asks else "escalated",
            notes=notes,
        )
    name, strategy = chosen
    values = values_of(site, name, alerts, environment, target)
    observations, findings = look(services.platforms, strategy, values)
    notes = [f"{item.operation} could not be performed: {item.error}" for item in observations if item.error]
    held = frozenset(finding.name for finding in findings)
    kept, tried = _chosen_before(services, run_id) if run_id else (None, ())
    situation = choosing.Situation(name, values, held, tried, run_id or "", because(name, findings))
    shown, among, skipped = _next_possible(services, situation, kept, run_id, observations, beside)
    notes += skipped
    if shown is None:
        failed = unseen(site, environment, observations)
        notes += [blind(f"nothing could be seen of {target}", failed)] if failed else []
        notes += [f"{remedy}: {why}" for remedy, why in explain(site, name, held, (), values)]
        return shape(
            environment=environment,
            target=target,
            alerts=names,
            strategy=name,
            findings=[item.model_dump(mode="json") for item in findings],
            outcome="would wait for the alert's silence" if "healthy" in held else "escalated",
            notes=notes,
        )
    return shown | {
        "alerts": names,
        "strategy": name,
        "findings": [item.model_dump(mode="json") for item in findings],
        "alternatives": among,
        "notes": [*shown["notes"], *notes],
    }


def _chosen_before(services: Services, run_id: str) -> tuple[Choice | None, tuple[str, ...]]:
    with services.store.read() as connection:
        return outcomes.present_choice(connection, run_id)


def _next_possible(
    services: Services,
    situation: choosing.Situation,
    kept: Choice | None,
    run_id: str | None,
    observations: Sequence[Observation],
    beside: Collection[Place],
) -> tuple[JsonObject | None, JsonObject | None, list[str]]:
    """The first rung that can be translated, as a run takes it; the alternatives it is one of; notes on the others."""
    notes: list[str] = []
    seen = seen_now(services, situation.values.environment, situation.values.target, "")
    while (found := choosing.next_plans(services, services.platforms, situation, seen.vetoes)).plans:
        notes += [note for remedy, why in found.vetoed.items() if (note := f"{remedy}: {why}") not in notes]
        plan, among = found.plans[0], None
        if found.group is not None:
            passing = lifted_by_time(services)
            open_now = choosing.alternatives(services, services.platforms, situation, found, passing)
            among = choosing.foreseen(services, open_now, kept)
            plan = next(item for item in found.plans if item.remedy == among["shown"])
        try:
            shown = _of_plan(services, plan, seen, observations, beside)
        except Problem as problem:
            if problem.code != "self_target":
                notes.append(f"{plan.remedy}: it cannot be translated: {problem.detail}")
                situation = replace(situation, impossible=(*situation.impossible, plan.remedy or ""))
                continue
            shown = shape(
                environment=plan.environment, target=plan.steps[0].target, outcome="refused", notes=[problem.detail]
            )
        return shown, among, notes if among is None else [*notes, _of_choosing(among, run_id)]
    return None, None, notes


def _of_choosing(among: JsonObject, run_id: str | None) -> str:
    """How sure it is that what is shown is what is done."""
    shares = ", ".join(f"{item['name']} {item['probability']:.0%}" for item in among["candidates"])
    if among["recorded"]:
        return f"{run_id} has chosen {among['shown']} already; the chances were {shares or 'none'}"
    if not among["candidates"]:
        return f"every alternative of {among['group']} is left out; shown is why the first one is"
    if len(among["candidates"]) == 1:
        return f"{among['shown']} is the only alternative of {among['group']} that can be taken now"
    return f"which alternative of {among['group']} comes first is drawn by the run: {shares}; shown is the likeliest"


def _of_plan(
    services: Services,
    plan: Plan,
    seen: Seen | None = None,
    observations: Sequence[Observation] = (),
    beside: Collection[Place] = (),
) -> JsonObject:
    """The exact calls of a plan, what the platform says of them, each guard's decision, its `cid`, and what undo does.

    Raises Problem with all that is wrong with the plan.
    """
    own = refuse_self(plan, services.site(), services.identity, services.layers)
    if own.answer is Answer.DENY:
        return shape(
            environment=plan.environment,
            target=plan.steps[0].target,
            strategy=plan.strategy,
            remedy=plan.remedy,
            plan=plan.model_dump(mode="json"),
            answer=Answer.DENY,
            guards=[own.model_dump(mode="json")],
            outcome="refused",
        )
    prepared = services.platforms.prepare(plan)
    context = context_of(services, prepared, run_id="", approved=False, first_rung=True, seen=seen, beside=beside)
    shown = of_prepared(context, judge(context), changes_of(services, prepared, observations))
    return with_rehearsals(services, prepared, shown)


def _nothing(alert: Alert, outcome: AlertOutcome, why: str) -> JsonObject:
    return shape(alerts=[alert.name], outcome=outcome.value, notes=[why])
