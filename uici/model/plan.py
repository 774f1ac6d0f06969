"""Plans: ordered steps with a content hash."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import cached_property
from typing import Self

from pydantic import Field

from uici.model.base import Frozen, JsonObject, JsonValue, canonical_json
from uici.model.call import Call, Risk
from uici.model.operation import NAME, Operation


class Origin(StrEnum):
    """Who wrote a plan. The guard treats all origins alike."""

    RULE = "rule"
    COUNCIL = "council"
    HUMAN = "human"


class Step(Frozen):
    """One operation on one target."""

    operation: str = Field(pattern=NAME)
    target: str = Field(min_length=1, max_length=253)
    parameters: JsonObject = Field(default_factory=dict)


class VerifySettings(Frozen):
    """When a remedy counts as effective. All durations are seconds."""

    within: float = Field(default=60.0, gt=0, le=86400, description="the target must be healthy by then")
    stable_for: float = Field(default=3.0, ge=0, le=86400, description="and stay healthy this long")
    confirm_within: float = Field(
        default=600.0, ge=0, le=86400, description="and the alert be silent by then, else inconclusive"
    )
    interval: float = Field(default=0.5, gt=0, le=3600, description="pause between two looks")


class Authored(Frozen):
    """Which model wrote a plan, asked what, at what cost. What the server did not say is None."""

    model: str
    prompt: str
    """Digest of the question; the same question has the same."""
    read: int | None = None
    """Tokens of the question. What has the word in its name is masked wherever it is shown."""
    written: int | None = None
    """Tokens of the answer."""
    cost_usd: float | None = None


class Plan(Frozen):
    """What is to be done for one rung of a ladder."""

    environment: str
    steps: tuple[Step, ...] = Field(min_length=1, max_length=50)
    origin: Origin
    reason: str
    strategy: str | None = None
    remedy: str | None = None
    verify: VerifySettings | None = None
    """What decides whether the target is well afterwards; None leaves that to the operations' health gates."""
    authored: Authored | None = None
    """Of a plan that a model wrote."""


class _Hashed(Frozen):
    """A value whose hash is worked out once. What is made from it with changes works out its own."""

    def __copy__(self) -> Self:
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class PreparedReading(Frozen):
    """Calls that only read, as they will be sent, and what of their results is meant."""

    calls: tuple[Call, ...]
    result: dict[str, JsonValue] | None = None


class PreparedStep(_Hashed):
    """A step with its operation's snapshot and the exact calls it translates into."""

    step: Step
    operation: Operation
    binding: JsonObject
    calls: tuple[Call, ...]
    result: dict[str, JsonValue] | None
    before: PreparedReading | None = None
    """How the state to keep is read, where the operation names no operation for that."""
    verification: PreparedReading | None = None
    """How the effect is seen, likewise. It may select from what the step's calls gave."""
    risk: Risk
    undo: str
    """What undo would do, in words: the inverse operation, or why there is none."""

    @cached_property
    def canonical(self) -> str:
        """What a plan's `cid` hashes of it: everything but the place where the operation is defined."""
        return canonical_json(self.model_dump(mode="json", exclude={"operation": {"source"}}))


class PreparedPlan(_Hashed):
    """A translated plan. A run keeps this snapshot, so that a hot reload never changes a plan under way."""

    plan: Plan
    steps: tuple[PreparedStep, ...]

    @cached_property
    def cid(self) -> str:
        """Content hash over the plan, its operations and translations, its calls and the targets' bindings: `digest`
        of all of it, put together from what the steps' own hashing needs too.
        """
        steps = ",".join(step.canonical for step in self.steps)
        text = f'{{"plan":{canonical_json(self.plan.model_dump(mode="json"))},"steps":[{steps}]}}'
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def risk(self) -> Risk:
        """The highest risk that a step, its operation or one of its calls declares."""
        declared = {
            risk
            for step in self.steps
            for risk in (step.risk, step.operation.risk, *(call.risk for call in step.calls))
        }
        return max(declared, key=lambda risk: risk.rank)

    @property
    def health_gate(self) -> VerifySettings | None:
        """When the target counts as well after this plan; None when nobody asks for that."""
        gated = any(step.operation.health_gate for step in self.steps)
        return self.plan.verify or (VerifySettings() if gated else None)

    @property
    def mutates(self) -> bool:
        """Whether any call changes something."""
        return any(call.mutates for step in self.steps for call in step.calls)
