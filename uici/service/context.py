"""What the routes of one application share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from anyio import CapacityLimiter
from fastapi import Depends, Request

from uici.model.site import IntakeSettings, ServiceSettings
from uici.service.stream import Follower

if TYPE_CHECKING:
    from uici.runs.control import Control


@dataclass(frozen=True)
class Context:
    """Everything that a route may use."""

    control: Control
    service: ServiceSettings
    intake: IntakeSettings
    follower: Follower
    token_threads: CapacityLimiter
    """Token look-ups have threads of their own, so slow requests never keep the webhook waiting for one."""


def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


Shared = Annotated[Context, Depends(_context)]
