"""What a run remembers of asking a model, from one question to the next and over a crash."""

from __future__ import annotations

from datetime import datetime

from uici.model.base import Frozen, JsonObject
from uici.model.incident import Observation
from uici.model.plan import Step
from uici.planning.council.prompt import Exchange


class Proposed(Frozen):
    """A plan of a model in this run."""

    remedy: str
    steps: tuple[Step, ...]


class Consultation(Frozen):
    """The questions of one run."""

    because: str
    """Why it is asked: what people would have been told instead, a reason code first."""
    since: datetime
    """When asking for the present plan began."""
    facts: tuple[Observation, ...] = ()
    """What was looked at for the present plan, masked and shortened."""
    past: tuple[JsonObject, ...] = ()
    """Similar past incidents, as they were known when it was first asked for the present plan; masked."""
    triaged: bool = False
    looks: int = 0
    """How many of the facts the model asked for."""
    unusable: Exchange | None = None
    """Its last answer, where that could not be used: it has one more."""
    lost: int = 0
    """Questions in a row that were not answered."""
    requests: int = 0
    tokens: int = 0
    proposed: tuple[Proposed, ...] = ()
    fell_back: bool = False
    """No plan came of it, and a fallback strategy is gone on with: nobody asks any more."""
