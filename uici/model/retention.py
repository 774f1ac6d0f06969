"""How long the state keeps what has ended. Seconds, as everywhere; 0 keeps for ever."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from uici.model.base import Frozen

_DAY = 86_400.0
_LONGEST = 3_153_600_000.0


def _at_least(least: float) -> AfterValidator:
    def check(seconds: float) -> float:
        if 0 < seconds < least:
            raise ValueError(f"{seconds:.0f} is too short: 0 keeps for ever, otherwise at least {least:.0f} seconds")
        return seconds

    return AfterValidator(check)


Kept = Annotated[float, Field(ge=0, le=_LONGEST, allow_inf_nan=False), _at_least(_DAY)]
KeptLong = Annotated[float, Field(ge=0, le=_LONGEST, allow_inf_nan=False), _at_least(30 * _DAY)]


class RetentionSettings(Frozen):
    """How long what has ended is kept. What is open, or still needed by something that is kept, never goes."""

    every_seconds: float = Field(
        default=300.0, ge=0, le=86_400, description="how often what is too old is looked for; 0: only when told to"
    )
    round_seconds: float = Field(default=20.0, gt=0, le=3600, description="how long one round takes at the most")
    rows_at_once: int = Field(default=100, ge=1, le=10_000, description="deleted in one transaction, so many of a kind")
    # An alert's occurrence is known by its row. Without it the same alert, delivered once more, would be a new one.
    incidents_seconds: KeptLong = Field(
        default=31_536_000.0,
        description="an incident with all that belongs to it, after its end and the last delivery of its alerts; "
        "also a run that a person asked for",
    )
    events_seconds: Kept = Field(default=7_776_000.0, description="the timeline of what has ended")
    calls_seconds: Kept = Field(
        default=7_776_000.0, description="the calls of runs that have ended, with their results"
    )
    results_seconds: Kept = Field(default=2_592_000.0, description="results that are kept with an incident")
    messages_seconds: Kept = Field(default=7_776_000.0, description="messages to people, once each is sent or given up")
    held_back_seconds: Kept = Field(default=7_776_000.0, description="what autonomy held back, with its preview")
    outcomes_seconds: Kept = Field(
        default=157_680_000.0, description="what came of each remedy; afterwards only how often, for each verdict"
    )
    audit_seconds: KeptLong = Field(
        default=63_072_000.0, description="the audit log, cut off from its oldest end in pieces of a day at least"
    )
