"""Each guard with all others off, and each threshold at its edge."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.guarding import ABSURD, VETO, by_human, context, policies
from tests.unit.sites import NOW, prepared
from uici.guard.autonomy import autonomy
from uici.guard.blast_radius import blast_radius
from uici.guard.context import GuardContext, MassFailure, deny
from uici.guard.cooldown import cooldown
from uici.guard.dependency import dependency
from uici.guard.freeze import freeze
from uici.guard.give_up import give_up
from uici.guard.lock import lock
from uici.guard.mass_failure import described, is_mass, mass_failure
from uici.guard.risk import risk
from uici.guard.self_target import self_target
from uici.guard.veto import veto
from uici.guard.watch_only import watch_only
from uici.model.call import Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import Origin, PreparedPlan
from uici.model.policies import BlastRadiusPolicy, DependencyPolicy, MassFailurePolicy
from uici.model.site import Autonomy, PoliciesFile
from uici.model.verdict import Answer
from uici.runs.showing import waits

ALLOW, DENY, ASK = Answer.ALLOW, Answer.DENY, Answer.NEEDS_APPROVAL


# --- self-target ---

ONLY_PLANNING = SelfGuardLayers(intake=False, planning=True, translation=False, executor=False)


@pytest.mark.parametrize(
    ("plan", "more"),
    [
        (prepared(target="UICI"), {}),
        (prepared(binding={"container": "uici"}), {}),
        (prepared(binding={"container": "ab" * 6}), {}),
        (prepared(binding={"health": {"command": ["x", "/var/uici.db"]}}), {}),
        (prepared(binding={"project": "stack"}), {}),
        (prepared(), {"aliases": ("uici",)}),
        (prepared(target="uici", binding={"program": "healer"}), {}),
    ],
)
def test_self_target_denies_what_reaches_uici_with_the_other_layers_off(plan: PreparedPlan, more: Any) -> None:
    identity = SelfIdentity(
        names=frozenset({"uici"}),
        containers=frozenset({"ab" * 32}),
        state_paths=frozenset({"/var/uici.db"}),
        containing=frozenset({"stack"}),
    )
    decision = self_target(context(plan=plan, identity=identity, layers=ONLY_PLANNING, **more))
    assert (decision.answer, decision.guard, decision.rule) == (DENY, "self-target", "planning")
    assert str(decision.value) in decision.reason
    off = SelfGuardLayers(planning=False)
    assert self_target(context(plan=plan, identity=identity, layers=off, **more)).answer is ALLOW


def test_self_target_lets_siblings_be_healed_and_uici_be_watched() -> None:
    identity = SelfIdentity(names=frozenset({"uici"}), containing=frozenset({"stack"}))
    sibling = prepared(binding={"service": "prometheus", "project": "stack"})
    assert self_target(context(plan=sibling, identity=identity)).answer is ALLOW
    assert self_target(context(plan=prepared(target="uici", mutates=False), identity=identity)).answer is ALLOW


def test_a_call_that_mutates_counts_although_its_operation_says_it_reads() -> None:
    plan = prepared(target="uici")
    step = plan.steps[0]
    lying = step.model_copy(update={"operation": step.operation.model_copy(update={"mutates": False})})
    assert self_target(context(plan=plan.model_copy(update={"steps": (lying,)}))).answer is DENY


def test_an_operation_that_mutates_counts_although_its_calls_only_read() -> None:
    plan = prepared(target="uici")
    step = plan.steps[0]
    calls = tuple(call.model_copy(update={"mutates": False}) for call in step.calls)
    quiet = plan.model_copy(update={"steps": (step.model_copy(update={"calls": calls}),)})
    assert self_target(context(plan=quiet)).answer is DENY


# --- watch-only, freeze, lock ---


def test_watch_only() -> None:
    assert watch_only(context(watch_only=True)).answer is DENY
    assert watch_only(context(watch_only=None)).rule == "not_managed"
    assert watch_only(context()).answer is ALLOW
    gone = watch_only(context(watch_only=None))
    assert (gone.answer, gone.rule) == (DENY, "not_managed")
    for declared in (None, True):
        assert watch_only(context(watch_only=declared, plan=prepared(mutates=False))).answer is ALLOW


def test_freeze() -> None:
    decision = freeze(context(frozen=("ann", "storm")))
    assert (decision.answer, decision.value) == (DENY, "ann")
    assert "storm" in decision.reason
    unreadable = freeze(context(freeze_known=False))
    assert (unreadable.answer, unreadable.rule) == (DENY, "unreadable")
    assert freeze(context()).answer is ALLOW
    looking = freeze(context(frozen=("ann", "storm"), plan=prepared(mutates=False)))
    assert (looking.answer, looking.rule) == (ALLOW, "reads")


def test_lock() -> None:
    decision = lock(context(holder="run-7"))
    assert (decision.answer, decision.rule, decision.value) == (DENY, "held", "run-7")
    assert lock(by_human(holder="run-7")).answer is DENY
    assert lock(context()).answer is ALLOW


def test_what_is_not_known_of_a_freeze_is_taken_for_one() -> None:
    fields = {field.name: getattr(context(), field.name) for field in dataclasses.fields(context())}
    del fields["freeze_known"]
    assert freeze(GuardContext(**fields)).answer is DENY


def test_what_is_not_said_of_a_plan_is_taken_for_the_stricter() -> None:
    fields = {field.name: getattr(context(), field.name) for field in dataclasses.fields(context())}
    del fields["approved"], fields["first_rung"]
    given = GuardContext(**{**fields, "plan": prepared(risk=Risk.HIGH), "last_run_ended": NOW})
    assert risk(given).answer is ASK
    assert cooldown(given).answer is DENY


# --- autonomy ---


@pytest.mark.parametrize(
    ("level", "answer", "rule"),
    [
        (Autonomy.OBSERVE, DENY, "observe"),
        (Autonomy.PROPOSE, DENY, "propose"),
        (Autonomy.APPROVE, ASK, "approve"),
        (Autonomy.AUTO, ALLOW, "auto"),
        (None, DENY, "unknown"),
        ("AUTO!", DENY, "unknown"),
    ],
)
def test_autonomy(level: Any, answer: Answer, rule: str) -> None:
    decision = autonomy(context(autonomy=level))
    assert (decision.answer, decision.rule) == (answer, rule)


@pytest.mark.parametrize("whole", list(Autonomy))
@pytest.mark.parametrize("own", list(Autonomy))
def test_of_a_plan_by_a_model_the_lower_autonomy_counts(whole: Autonomy, own: Autonomy) -> None:
    both = policies(council_autonomy=own)
    by_model = autonomy(context(autonomy=whole, policies=both, plan=prepared(origin=Origin.COUNCIL)))
    assert by_model.rule == min(whole, own, key=list(Autonomy).index)
    assert autonomy(context(autonomy=whole, policies=both)).rule == whole


# --- risk ---


@pytest.mark.parametrize("threshold", list(Risk))
@pytest.mark.parametrize("found", list(Risk))
def test_risk_asks_above_its_threshold_and_always_for_destructive(threshold: Risk, found: Risk) -> None:
    given = context(plan=prepared(risk=found), policies=policies(risk={"auto_approve_up_to": threshold}))
    expected = ALLOW if found.rank <= threshold.rank and found is not Risk.DESTRUCTIVE else ASK
    assert risk(given).answer is expected


@pytest.mark.parametrize("threshold", [*ABSURD, "extreme", "high"])
def test_risk_denies_without_a_usable_threshold(threshold: Any) -> None:
    assert risk(context(policies=policies(risk={"auto_approve_up_to": threshold}))).answer is DENY


def test_risk_takes_the_highest_that_anything_declares() -> None:
    for part in ("risk", "operation"):
        plan = prepared(risk=Risk.LOW)
        step = plan.steps[0]
        raised = Risk.HIGH if part == "risk" else step.operation.model_copy(update={"risk": Risk.HIGH})
        plan = plan.model_copy(update={"steps": (step.model_copy(update={part: raised}),)})
        assert risk(context(plan=plan)).answer is ASK, part
    plan = prepared(risk=Risk.LOW)
    call = plan.steps[0].calls[0].model_copy(update={"risk": Risk.HIGH})
    step = plan.steps[0].model_copy(update={"calls": (call,)})
    assert risk(context(plan=plan.model_copy(update={"steps": (step,)}))).answer is ASK


# --- cooldown ---


@pytest.mark.parametrize(("ago", "answer"), [(0, DENY), (59.999, DENY), (60, ALLOW), (61, ALLOW), (-5, DENY)])
def test_cooldown_at_its_edge(ago: float, answer: Answer) -> None:
    decision = cooldown(context(last_run_ended=NOW - timedelta(seconds=ago)))
    assert (decision.answer, decision.rule) == (answer, "seconds")


def test_cooldown_binds_the_first_rung_only_and_nobody_who_never_ran() -> None:
    assert cooldown(context(last_run_ended=NOW, first_rung=False)).answer is ALLOW
    assert cooldown(context(last_run_ended=None)).answer is ALLOW
    assert cooldown(context(last_run_ended=NOW, policies=policies(cooldown={"seconds": 0}))).answer is ALLOW


@pytest.mark.parametrize("seconds", ABSURD)
def test_cooldown_denies_without_a_usable_threshold(seconds: Any) -> None:
    decision = cooldown(context(last_run_ended=None, policies=policies(cooldown={"seconds": seconds})))
    assert decision.answer is DENY
    assert "policies.yml" in decision.reason


# --- give-up ---


@pytest.mark.parametrize(("seen", "answer"), [(2, ALLOW), (3, DENY), (4, DENY), (-1, DENY), (None, DENY)])
def test_give_up_at_its_edge(seen: Any, answer: Answer) -> None:
    assert give_up(context(ineffective_runs=seen)).answer is answer


@pytest.mark.parametrize("value", [*ABSURD, 0, 1.5])
def test_give_up_denies_without_a_usable_count(value: Any) -> None:
    assert give_up(context(policies=policies(give_up={"ineffective_runs": value}))).answer is DENY


@pytest.mark.parametrize("value", ABSURD)
def test_give_up_denies_without_a_usable_window(value: Any) -> None:
    assert give_up(context(policies=policies(give_up={"within_seconds": value}))).answer is DENY


# --- blast radius ---


@pytest.mark.parametrize(
    ("members", "healthy", "answer"),
    [(2, 1, ALLOW), (2, 0, DENY), (3, 1, DENY), (3, 2, ALLOW), (0, None, ALLOW), (2, None, DENY), (2, 3, DENY),
     (2, -1, DENY), (-1, 0, DENY), (None, 0, DENY), (2, True, DENY), (2, 1.5, DENY), (True, 1, DENY)],
)  # fmt: skip
def test_min_healthy_looks_at_the_others_only(members: Any, healthy: Any, answer: Answer) -> None:
    decision = blast_radius(context(group_members=members, group_healthy=healthy))
    assert decision.answer is answer
    assert answer is ALLOW or decision.rule == "min_healthy"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_min_healthy_is_exact_at_shares_that_binary_fractions_miss(share: float) -> None:
    edge = policies(blast_radius={"min_healthy": share})
    count = round(share * 10)
    assert blast_radius(context(group_members=10, group_healthy=count, policies=edge)).answer is ALLOW
    assert blast_radius(context(group_members=10, group_healthy=count - 1, policies=edge)).answer is DENY


@pytest.mark.parametrize(("share", "healthy", "answer"), [(0, 0, ALLOW), (1, 2, ALLOW), (1, 1, DENY)])
def test_min_healthy_may_be_nothing_or_all(share: float, healthy: int, answer: Answer) -> None:
    given = context(group_healthy=healthy, policies=policies(blast_radius={"min_healthy": share}))
    assert blast_radius(given).answer is answer


@pytest.mark.parametrize("share", [*ABSURD, 1.0001, 50])
def test_min_healthy_denies_without_a_usable_share_even_for_a_lone_service(share: Any) -> None:
    given = context(group_members=0, policies=policies(blast_radius={"min_healthy": share}))
    assert blast_radius(given).answer is DENY


@pytest.mark.parametrize(
    ("field", "rule", "edge"), [("acting", "max_concurrent", 2), ("started_last_hour", "max_per_hour", 10)]
)
def test_counts_at_their_edges(field: str, rule: str, edge: int) -> None:
    assert blast_radius(context(**{field: edge - 1})).answer is ALLOW
    for value in (edge, edge + 1, None, -1):
        decision = blast_radius(context(**{field: value}))
        assert (decision.answer, decision.rule, decision.value) == (DENY, rule, edge)


@pytest.mark.parametrize("rule", ["max_concurrent", "max_per_hour"])
@pytest.mark.parametrize("value", [*ABSURD, 0, 2.0])
def test_counts_deny_without_a_usable_threshold(rule: str, value: Any) -> None:
    decision = blast_radius(context(policies=policies(blast_radius={rule: value})))
    assert (decision.answer, decision.rule) == (DENY, rule)


# --- dependency ---


def test_what_a_target_depends_on_goes_first() -> None:
    decision = dependency(context(hindrance="db: incident inc_1"))
    assert (decision.answer, decision.guard, decision.rule) == (DENY, "dependency", "waits")
    assert decision.reason == "waits for db: incident inc_1"
    assert waits(PoliciesFile(), decision)
    assert dependency(context()).answer is ALLOW


def test_neither_reads_nor_people_wait_for_a_dependency() -> None:
    assert dependency(context(hindrance="db", plan=prepared(mutates=False))).answer is ALLOW
    assert dependency(by_human(hindrance="db")).answer is ALLOW


def test_dependencies_that_nobody_could_look_at_deny() -> None:
    fields = {field.name: getattr(context(), field.name) for field in dataclasses.fields(context())}
    del fields["dependencies_known"]
    decision = dependency(GuardContext(**fields))
    assert (decision.answer, decision.rule) == (DENY, "unreadable")


@pytest.mark.parametrize("name", list(DependencyPolicy.model_fields))
@pytest.mark.parametrize("value", [*ABSURD, 1e9])
def test_dependencies_deny_without_usable_thresholds(name: str, value: Any) -> None:
    decision = dependency(context(policies=policies(dependencies={name: value})))
    assert (decision.answer, decision.rule) == (DENY, name)
    assert f"dependencies.{name}" in decision.reason


# --- mass failure ---


@pytest.mark.parametrize(
    ("failing", "targets", "answer"),
    [(4, 8, ASK), (5, 8, ASK), (4, 9, ALLOW), (3, 4, ALLOW), (4, 4, ASK), (4, 0, ALLOW), (-1, 8, DENY), (None, 8, DENY),
     (4, None, DENY), (4, -1, DENY), (True, 8, DENY), (0, 8, ALLOW)],
)  # fmt: skip
def test_a_mass_failure_is_a_share_and_a_number(failing: Any, targets: Any, answer: Answer) -> None:
    decision = mass_failure(context(mass_failure=MassFailure(failing=failing, targets=targets, engaged=False)))
    assert (decision.answer, decision.guard) == (answer, "mass-failure")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_a_mass_failure_is_exact_at_shares_that_binary_fractions_miss(share: float) -> None:
    edge = policies(mass_failure={"share": share, "at_least": 2})
    count = round(share * 100)
    for failing, answer in ((count, ASK), (count - 1, ALLOW)):
        seen = MassFailure(failing=failing, targets=100, engaged=False)
        assert mass_failure(context(mass_failure=seen, policies=edge)).answer is answer


def test_a_mass_failure_lasts_until_it_is_released_or_a_person_lifts_it() -> None:
    asked = mass_failure(context(mass_failure=MassFailure(failing=0, targets=9)))
    assert (asked.answer, asked.rule, asked.value) == (ASK, "share", 0)
    assert "mass failure: 0 of 9 targets in local failed within 60 s; probably a common cause" in asked.reason
    lifted = mass_failure(context(mass_failure=MassFailure(failing=9, targets=9, lifted=True)))
    assert lifted.answer is ALLOW
    approved = context(mass_failure=MassFailure(failing=9, targets=9), approved=True)
    assert mass_failure(approved).answer is ALLOW


def test_neither_reads_nor_people_are_held_back_in_a_mass_failure() -> None:
    much = MassFailure(failing=9, targets=9)
    assert mass_failure(context(mass_failure=much, plan=prepared(mutates=False))).answer is ALLOW
    assert mass_failure(by_human(mass_failure=much)).answer is ALLOW


def test_a_mass_failure_that_nobody_could_count_denies() -> None:
    fields = {field.name: getattr(context(), field.name) for field in dataclasses.fields(context())}
    del fields["mass_failure"]
    decision = mass_failure(GuardContext(**fields))
    assert (decision.answer, decision.rule) == (DENY, "unreadable")
    assert mass_failure(context(mass_failure=MassFailure(failing=0, targets=9))).answer is ASK, "it is on unless known"
    assert mass_failure(context(mass_failure=MassFailure(failing=9, targets=9, engaged=False))).answer is ASK


@pytest.mark.parametrize("name", list(MassFailurePolicy.model_fields))
@pytest.mark.parametrize("value", [*ABSURD, 1e9])
def test_a_mass_failure_denies_without_usable_thresholds(name: str, value: Any) -> None:
    decision = mass_failure(context(policies=policies(mass_failure={name: value})))
    assert (decision.answer, decision.rule) == (DENY, name)
    assert f"mass_failure.{name}" in decision.reason


def test_what_cannot_be_judged_by_is_no_mass_failure_to_whoever_puts_the_brake_on() -> None:
    seen = MassFailure(failing=9, targets=9)
    assert is_mass(MassFailurePolicy(share=0.5, at_least=2), seen)
    assert not is_mass(MassFailurePolicy(share=None, at_least=2), seen)
    assert not is_mass(MassFailurePolicy(share=0.5, at_least=None), seen)
    assert "failed;" in described("here", MassFailurePolicy(), seen)


# --- veto ---


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, DENY),
        ({"target": "web"}, DENY),
        ({"target": "db"}, ALLOW),
        ({"environment": "local"}, DENY),
        ({"environment": "far"}, ALLOW),
        ({"environment": "local", "target": "db"}, ALLOW),
        ({"strategy": "slow"}, ALLOW),
        ({"remedy": "start"}, ALLOW),
    ],
)
def test_a_veto_denies_its_remedy_where_it_holds(changes: dict[str, Any], answer: Answer) -> None:
    other = VETO.model_copy(update={"id": "veto_0", "remedy": "other"})
    vetoes = (other, VETO.model_copy(update=changes))
    for mutates in (True, False):
        decision = veto(context(plan=prepared(strategy="down", remedy="restart", mutates=mutates), vetoes=vetoes))
        assert (decision.answer, decision.guard, decision.rule) == (answer, "veto", "vetoed")
        assert decision.value == ("veto_1" if answer is DENY else None)


def test_a_veto_says_who_why_and_how_to_lift_it() -> None:
    decision = veto(context(plan=prepared(strategy="down", remedy="restart"), vetoes=(VETO,)))
    assert decision.reason == "restart is vetoed by ann: it loses the queue; uici learning lift veto_1"


def test_vetoes_that_cannot_be_read_deny_rules_but_not_people() -> None:
    decision = veto(context(vetoes=None))
    assert (decision.answer, decision.rule) == (DENY, "unreadable")
    assert veto(by_human(vetoes=None)).answer is ALLOW


@pytest.mark.parametrize("most", [None, 3])
def test_only_a_limit_that_there_is_is_lifted_by_waiting(most: int | None) -> None:
    policies = PoliciesFile(blast_radius=BlastRadiusPolicy(max_concurrent=most))
    assert waits(policies, deny("blast-radius", "max_concurrent", most, "")) is (most is not None)
