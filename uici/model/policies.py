"""The thresholds of policies.yml, each part for the guards that judge by it."""

from __future__ import annotations

from pydantic import Field

from uici.model.base import Frozen
from uici.model.call import Risk

# Thresholds are optional in the shape so that a guard, not the loader alone, answers for a missing one: it denies.
# Each has bounds, beyond which it would be no threshold any more: `uici.model.thresholds` holds both to them.

_WEEK = 604_800


class RiskPolicy(Frozen):
    """Up to which risk a plan may run without a person's approval. `destructive` never may."""

    auto_approve_up_to: Risk | None = None


class CooldownPolicy(Frozen):
    """How long a target rests after a run of any outcome."""

    # For a target that is to be left alone longer than a week there is `watch_only`.
    seconds: float | None = Field(default=None, ge=0, le=_WEEK, allow_inf_nan=False)


class GiveUpPolicy(Frozen):
    """After how many ineffective runs within how long UICI stops trying and has told a human."""

    # Nobody wants to read of the hundred-and-first attempt, and a window of nothing would never count any.
    ineffective_runs: int | None = Field(default=None, ge=1, le=100)
    within_seconds: float | None = Field(default=None, ge=1, le=4 * _WEEK, allow_inf_nan=False)


class BlastRadiusPolicy(Frozen):
    """When nothing new may start."""

    min_healthy: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="share of the *other* members of the group"
    )
    # More than `runs.threads` can be never act at once, and three plans in each second are no brake.
    max_concurrent: int | None = Field(
        default=None, ge=1, le=512, description="runs that act at the same time, per environment"
    )
    max_per_hour: int | None = Field(
        default=None, ge=1, le=10_000, description="mutating plans begun within an hour, per environment"
    )


class DependencyPolicy(Frozen):
    """How long a target waits for what it depends on (`depends_on` in targets.yml)."""

    # An hour is longer than any group_wait; after a week of waiting nobody remembers what for.
    correlation_seconds: float | None = Field(
        default=None,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="how long a target with dependencies waits for their alerts to come",
    )
    wait_seconds: float | None = Field(
        default=None, ge=1, le=_WEEK, allow_inf_nan=False, description="until a broken dependency is left to people"
    )
    recover_seconds: float | None = Field(
        default=None, ge=0, le=3600, allow_inf_nan=False, description="what a target is given once they are healed"
    )


class MassFailurePolicy(Frozen):
    """When so much of an environment fails at once that the cause is probably a common one."""

    # One of two is no mass, and beyond a hundred thousand targets nobody counts.
    share: float | None = Field(
        default=None, ge=0.01, le=1, allow_inf_nan=False, description="of the environment's targets"
    )
    at_least: int | None = Field(default=None, ge=2, le=100_000, description="targets; fewer are no mass failure")
    within_seconds: float | None = Field(default=None, ge=1, le=_WEEK, allow_inf_nan=False)
    release_share: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="below it the brake lets go"
    )
    release_seconds: float | None = Field(
        default=None, ge=0, le=_WEEK, allow_inf_nan=False, description="for so long it has to be below"
    )


class ApprovalPolicy(Frozen):
    """How long a question to people stays open; afterwards it expires closed."""

    # Within less than a second nobody decides; what was asked a week ago is about another world.
    expires_seconds: float | None = Field(default=None, ge=1, le=_WEEK, allow_inf_nan=False)
