"""What the routes of one application share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from anyio import CapacityLimiter
from fastapi import Depends, Request

from uici.intake.writer import Accepted
from uici.model.settings import IntakeSettings, ServiceSettings
from uici.service.admission import Admission
from uici.service.arrivals import Arrivals
from uici.service.stream import Follower

if TYPE_CHECKING:
    from uici.runs.control import Control
    from uici.service.gate import Gate


@dataclass(frozen=True)
class Context:
    """Everything that a route may use."""

    control: Control
    service: ServiceSettings
    intake: IntakeSettings
    follower: Follower
    gate: Gate
    arrivals: Arrivals[Accepted]
    """How commits become answers."""
    admission: Admission
    """The door of the webhook."""
    webhook_threads: CapacityLimiter
    """For what the webhook must do in a thread (and all token look-ups): slow requests never take these."""


async def _context(request: Request) -> Context:
    # Asynchronous although it waits for nothing: a plain function would be called in a thread that slow requests share.
    return cast(Context, request.app.state.context)


Shared = Annotated[Context, Depends(_context)]
