"""How it is shown what would be done: one shape, for a preview and for what a run keeps that did not act."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from uici.guard.context import GuardContext
from uici.guard.judging import combined
from uici.model.base import JsonObject, JsonValue
from uici.model.call import Call
from uici.model.masking import mask
from uici.model.site import PoliciesFile
from uici.model.thresholds import usable
from uici.model.verdict import Answer, Decision, as_json

PATIENT = frozenset({("lock", "held"), ("blast-radius", "max_concurrent"), ("dependency", "waits")})
"""Denials that time alone lifts: the run waits for its turn instead of ending. The cooldown's is told by `rests`."""


def of_prepared(context: GuardContext, decisions: Sequence[Decision], changes: Sequence[JsonValue]) -> JsonObject:
    """The exact calls of a plan, what each step would change, each guard's decision, and what undo would do."""
    prepared = context.plan
    plan = prepared.plan
    notes = []
    if prepared.mutates:
        notes.append("calls, in order, as they will be sent; values marked $select come from an earlier call's result")
    if any(call.poll is not None for step in prepared.steps for call in step.calls):
        notes.append("calls with `poll` only read: each is sent again until its conditions hold, or the step fails")
    notes += turns(context, decisions)
    return shape(
        environment=plan.environment,
        target=plan.steps[0].target,
        strategy=plan.strategy,
        remedy=plan.remedy,
        cid=prepared.cid,
        risk=prepared.risk,
        answer=combined(decisions),
        plan=plan.model_dump(mode="json"),
        steps=[
            {
                "operation": step.step.operation,
                "target": step.step.target,
                "parameters": step.step.parameters,
                "risk": step.risk,
                "undo": step.undo,
                "changes": changed,
                "calls": [
                    {
                        "id": call.id,
                        "name": call.name,
                        "arguments": call.arguments,
                        "mutates": call.mutates,
                        "risk": call.risk,
                        **_waiting(call),
                    }
                    for call in step.calls
                ],
            }
            for step, changed in zip(prepared.steps, changes, strict=True)
        ],
        guards=as_json(decisions),
        outcome=outcome(context, decisions),
        notes=notes,
    )


def _waiting(call: Call) -> JsonObject:
    """What cannot be known beforehand: which arguments are selected, and how often the call is sent."""
    shown: JsonObject = {}
    if call.selects:
        shown["selects"] = list(call.selects)
    if call.poll is not None:
        until = [condition.describe() for condition in call.poll.until]
        shown["poll"] = call.poll.model_dump(mode="json") | {"until": until}
    return shown


def outcome(context: GuardContext, decisions: Sequence[Decision]) -> str:
    """What would become of a run with these decisions, in words."""
    answer = combined(decisions)
    if answer is Answer.ALLOW:
        return "would run"
    if answer is Answer.NEEDS_APPROVAL:
        return "would wait for approval"
    denials = [item for item in decisions if item.answer is Answer.DENY]
    if only_watched(denials):
        return "would be recorded, not run"
    if all(waits(context.policies, item) for item in denials):
        return "would wait for its turn"
    return "would be refused"


def turns(context: GuardContext, decisions: Sequence[Decision]) -> list[str]:
    """What a run would wait for, where all that is in its way is lifted by time alone."""
    denials = [item for item in decisions if item.answer is Answer.DENY]
    if not all(waits(context.policies, item) for item in denials):
        return []
    return [f"it would wait {_turn(context, item)}" for item in denials]


def only_watched(denials: Sequence[Decision]) -> bool:
    """Whether autonomy says that nothing is done here: what else stood in the way is recorded with it."""
    watched = any(item.guard == "autonomy" and item.rule in ("observe", "propose") for item in denials)
    return watched and all(item.guard != "self-target" for item in denials)


def waits(policies: PoliciesFile, denial: Decision) -> bool:
    """Whether time alone lifts the denial; one whose limit is unusable is not lifted by waiting."""
    if (denial.guard, denial.rule) == ("blast-radius", "max_concurrent"):
        return usable(policies.blast_radius.max_concurrent, policies.blast_radius, "max_concurrent")
    return (denial.guard, denial.rule) in PATIENT or rests(policies, denial)


def rests(policies: PoliciesFile, denial: Decision) -> bool:
    """Whether it is the cooldown's; one whose threshold is unusable is not lifted by waiting."""
    policy = policies.cooldown
    return denial.guard == "cooldown" and usable(policy.seconds, policy, "seconds")


def _turn(context: GuardContext, denial: Decision) -> str:
    """Until when, or for whom."""
    if denial.guard == "lock":
        return f"for {context.holder} to be done with the target"
    if denial.guard == "dependency":
        return f"for {context.hindrance}"
    if denial.guard == "cooldown":
        rest = timedelta(seconds=context.policies.cooldown.seconds or 0)
        # One that ended later than now, by a clock that was set back, rests from now.
        until = min(context.last_run_ended or context.now, context.now) + rest
        return f"until {until:%Y-%m-%d %H:%M:%S} UTC, when the target has rested"
    return f"for one of the {context.acting} runs that act in {context.plan.plan.environment} to end"


def shape(**given: object) -> JsonObject:
    """A preview with these members; the others are empty. Whoever hands it out masks it as a whole."""
    document: JsonObject = {
        "alerts": [],
        "environment": None,
        "target": None,
        "strategy": None,
        "remedy": None,
        "cid": None,
        "risk": None,
        "answer": None,
        "plan": None,
        "steps": [],
        "guards": [],
        "findings": [],
        "alternatives": None,
        "notes": [],
        "outcome": "",
    }
    return document | given


def masked(document: JsonObject) -> JsonObject:
    """Without secrets."""
    hidden: JsonObject = mask(document)
    return hidden
