from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.guarding import VETO, by_human, context
from tests.unit.sites import NOW, prepared
from uici.guard.context import GuardContext, MassFailure, deny
from uici.guard.judging import GUARDS, Guard, combined, judge
from uici.model.call import Risk
from uici.model.plan import Origin
from uici.model.site import Autonomy
from uici.model.verdict import Answer, Decision

OBJECTIONS: dict[str, tuple[dict[str, Any], Answer]] = {
    "self_target": ({"plan": prepared(target="uici")}, Answer.DENY),
    "watch_only": ({"watch_only": True}, Answer.DENY),
    "freeze": ({"frozen": ("ann", "storm")}, Answer.DENY),
    "veto": ({"vetoes": (VETO,), "plan": prepared(strategy="down", remedy="restart")}, Answer.DENY),
    "autonomy": ({"autonomy": Autonomy.APPROVE}, Answer.NEEDS_APPROVAL),
    "lock": ({"holder": "run-2"}, Answer.DENY),
    "cooldown": ({"last_run_ended": NOW - timedelta(seconds=1)}, Answer.DENY),
    "give_up": ({"ineffective_runs": 3}, Answer.DENY),
    "dependency": ({"hindrance": "db: incident inc_1"}, Answer.DENY),
    "mass_failure": ({"mass_failure": MassFailure(failing=9, targets=10)}, Answer.NEEDS_APPROVAL),
    "blast_radius": ({"acting": 2}, Answer.DENY),
    "risk": ({"plan": prepared(risk=Risk.HIGH)}, Answer.NEEDS_APPROVAL),
}


def test_every_guard_allows_the_usual_case_so_that_each_test_below_is_about_one_guard() -> None:
    assert [decision.answer for decision in judge(context())] == [Answer.ALLOW] * len(GUARDS)


def test_the_list_of_guards_is_the_list_that_is_tested() -> None:
    assert [guard.__name__ for guard in GUARDS] == list(OBJECTIONS)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_flipping_any_one_guard_changes_the_answer(guard: Guard) -> None:
    changes, answer = OBJECTIONS[guard.__name__]
    circumstances = context(**changes)

    def flipped(given: GuardContext) -> Decision:
        decision = guard(given)
        other = Answer.DENY if decision.answer is Answer.ALLOW else Answer.ALLOW
        return decision.model_copy(update={"answer": other})

    assert combined(judge(circumstances)) is answer
    mutated = tuple(flipped if one is guard else one for one in GUARDS)
    assert combined(judge(circumstances, mutated)) is Answer.ALLOW
    assert combined(judge(context(), mutated)) is Answer.DENY


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_each_objection_names_guard_rule_value_and_reason(guard: Guard) -> None:
    changes, _ = OBJECTIONS[guard.__name__]
    decision = guard(context(**changes))
    assert decision.guard == guard.__name__.replace("_", "-")
    assert decision.rule
    assert decision.value is not None
    assert len(decision.reason) > 10


def test_a_guard_that_raises_or_says_nothing_denies() -> None:
    def broken(_: GuardContext) -> Decision:
        raise RuntimeError("lost")

    def silent(_: GuardContext) -> Any:
        return None

    failed, mute = judge(context(), (broken, silent))
    assert (failed.answer, failed.rule, failed.guard) == (Answer.DENY, "guard_failed", "broken")
    assert "lost" in failed.reason
    assert mute.answer is Answer.DENY


def test_a_naive_time_denies_instead_of_breaking_the_run() -> None:
    decisions = judge(context(last_run_ended=NOW.replace(tzinfo=None)))
    assert combined(decisions) is Answer.DENY


def _decision(answer: Any) -> Decision:
    return Decision.model_construct(guard="g", answer=answer, rule="r", value=None, reason="x")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], Answer.DENY),
        ([Answer.ALLOW], Answer.ALLOW),
        ([Answer.ALLOW, Answer.NEEDS_APPROVAL], Answer.NEEDS_APPROVAL),
        ([Answer.NEEDS_APPROVAL, Answer.DENY, Answer.ALLOW], Answer.DENY),
        ([Answer.ALLOW, "perhaps"], Answer.DENY),
        ([Answer.ALLOW, None], Answer.DENY),
    ],
)
def test_the_strictest_answer_counts(answers: list[Any], expected: Answer) -> None:
    assert combined([_decision(answer) for answer in answers]) is expected


def test_approval_satisfies_needs_approval_but_never_a_denial() -> None:
    for name, (changes, answer) in OBJECTIONS.items():
        circumstances = dataclasses.replace(context(**changes), approved=True)
        expected = Answer.ALLOW if answer is Answer.NEEDS_APPROVAL else Answer.DENY
        assert combined(judge(circumstances)) is expected, name


def test_which_guards_bind_a_person() -> None:
    binding = set()
    for name, (changes, _) in OBJECTIONS.items():
        human = by_human(**changes)
        plan = human.plan.model_copy(update={"plan": by_human().plan.plan})
        if combined(judge(dataclasses.replace(human, plan=plan))) is not Answer.ALLOW:
            binding.add(name)
    assert binding == set(OBJECTIONS) - {"veto", "autonomy", "cooldown", "give_up", "dependency", "mass_failure"}


def test_a_plan_counts_as_a_persons_only_when_the_plan_itself_says_so_too() -> None:
    caller_says = context(last_run_ended=NOW, origin=Origin.HUMAN)
    plan_says = context(last_run_ended=NOW, plan=prepared(origin=Origin.HUMAN))
    for cooling in (caller_says, plan_says):
        assert combined(judge(cooling)) is Answer.DENY
    assert combined(judge(by_human(last_run_ended=NOW))) is Answer.ALLOW


def test_a_plan_that_only_reads_is_held_back_by_no_circumstance() -> None:
    held = set()
    for name, (changes, _) in OBJECTIONS.items():
        circumstances = context(**{**changes, "plan": prepared(mutates=False)})
        if combined(judge(circumstances)) is not Answer.ALLOW:
            held.add(name)
    assert held == set()


def test_a_value_that_json_does_not_know_is_told_as_text_and_others_as_they_are() -> None:
    for value, told in ((float("nan"), "nan"), (float("inf"), "inf"), (0.5, 0.5), (3, 3), ("x", "x")):
        assert deny("g", "r", value, "a reason").value == told
