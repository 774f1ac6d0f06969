"""What the guards are told. They ask nothing themselves, so a preview and a run judge alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TypeGuard

from uici.model.call import Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.learning import Veto
from uici.model.plan import Origin, PreparedPlan, PreparedStep
from uici.model.site import Autonomy, PoliciesFile
from uici.model.thresholds import complaint, usable
from uici.model.verdict import Answer, Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class MassFailure:
    """How much of an environment fails, and whether the brake is on there."""

    failing: int
    """Targets that fail, without those that depend on another of them."""
    targets: int
    engaged: bool = True
    """The brake was put on, and nothing has taken it off."""
    lifted: bool = False
    """A person has taken it off, for a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardContext:
    """One plan and the state in which it would be carried out. What could not be read is None, and denies.

    Fields with a default have the one that denies most; facts whose absence would allow have none.
    """

    plan: PreparedPlan
    policies: PoliciesFile
    """The policy in force now, not the one of the time of planning."""
    autonomy: Autonomy | None
    """The lowest level that target, environment and site declare."""
    watch_only: bool | None
    """None when the target is not bound in the environment by the configuration in force."""
    now: datetime
    origin: Origin
    identity: SelfIdentity
    layers: SelfGuardLayers
    aliases: tuple[str, ...] = ()
    """Further names of the plan's targets."""
    frozen: tuple[str, str] | None
    """Who froze everything, and why."""
    freeze_known: bool = False
    """Whether the freeze could be read at all."""
    vetoes: tuple[Veto, ...] | None
    """The vetoes in force."""
    holder: str | None
    """The run, other than this one, that holds a target of the plan."""
    last_run_ended: datetime | None
    """When the last run that acted on the target ended, whatever its outcome; None when there was none."""
    ineffective_runs: int
    """Runs on the target within `give_up.within_seconds` that did not help."""
    group_members: int = 0
    """*Other* members of the target's group."""
    group_healthy: int | None = None
    """How many of those are healthy."""
    acting: int | None = None
    """Other runs that act in the environment at this moment."""
    started_last_hour: int | None = None
    """Other mutating plans begun in the environment within the last hour."""
    hindrance: str | None
    """What the target waits for among all that it depends on."""
    dependencies_known: bool = False
    """Whether that could be read at all."""
    mass_failure: MassFailure | None = None
    """How much of the environment fails; None where that could not be read."""
    approved: bool = False
    """Whether a person has approved exactly this plan, by its `cid`."""
    first_rung: bool = True
    """Whether this is the run's first plan; later rungs follow without a rest."""

    @property
    def mutating_steps(self) -> tuple[PreparedStep, ...]:
        """Steps that change something, by their operation's word or by any of their calls."""
        return tuple(
            step for step in self.plan.steps if step.operation.mutates or any(call.mutates for call in step.calls)
        )

    @property
    def mutates(self) -> bool:
        """Whether the plan changes anything."""
        return bool(self.mutating_steps)

    @property
    def by_a_human(self) -> bool:
        """Whether a person asked for exactly this plan: the caller and the plan itself must both say so."""
        return self.origin is Origin.HUMAN and self.plan.plan.origin is Origin.HUMAN

    @property
    def risk(self) -> Risk:
        """The highest risk that a step, its operation or one of its calls declares."""
        return self.plan.risk


def allow(guard: str, rule: str, value: object, reason: str) -> Decision:
    """The guard has no objection."""
    return Decision(guard=guard, answer=Answer.ALLOW, rule=rule, value=value, reason=reason)


def deny(guard: str, rule: str, value: object, reason: str) -> Decision:
    """The guard forbids it; `value` is what it judged by, as JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    return Decision(guard=guard, answer=Answer.DENY, rule=rule, value=value, reason=reason)


def needs_approval(context: GuardContext, guard: str, rule: str, value: object, reason: str) -> Decision:
    """The guard wants a person's word, and is content when this very plan has it.

    Denies where it cannot be asked for: a question needs to know how long it stays open.
    """
    if context.approved:
        return allow(guard, rule, value, f"{reason}; approved for {context.plan.cid}")
    policy = context.policies.approval
    if not usable(policy.expires_seconds, policy, "expires_seconds"):
        wrong = complaint(policy.expires_seconds, policy, "expires_seconds")
        return deny(guard, "expires_seconds", policy.expires_seconds, f"{reason}, but nobody can be asked: {wrong}")
    return Decision(guard=guard, answer=Answer.NEEDS_APPROVAL, rule=rule, value=value, reason=reason)


def known_count(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number of 0 or more: something that was really counted."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
