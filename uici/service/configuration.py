"""Routes about the configuration in force."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends

from uici.model.base import JsonObject
from uici.service.auth import MayAdminister, MayViewAll
from uici.service.body import body_of
from uici.service.context import Shared
from uici.service.openapi import TOKEN, json_answer, json_request, problems
from uici.service.requests import ReloadBody

router = APIRouter(prefix="/api/v1", tags=["catalogue"])

Reload = Annotated[ReloadBody, Depends(body_of(ReloadBody, optional=True))]

_IN_FORCE: Final[JsonObject] = {
    "digest": "sha256:" + "4f" * 32,
    "loaded_at": "2026-01-02T03:04:05.678000+00:00",
    "directory": "/etc/uici",
    "reload_seconds": 1.0,
    "needs_restart": [],
    "rejected": None,
}


@router.get(
    "/configuration",
    summary="The configuration in force",
    responses=json_answer(200, "What is in force, and what was rejected.", _IN_FORCE) | problems(),
    openapi_extra=TOKEN,
)
def show(caller: MayViewAll, context: Shared) -> JsonObject:
    """Since when and from where it is in force, which settings wait for a restart, and what newer one was rejected."""
    return context.control.configuration.show()


@router.post(
    "/configuration:reload",
    summary="Load the configuration again",
    responses=json_answer(200, "What is in force now.", {"outcome": "reloaded", **_IN_FORCE}) | problems(400, 409, 422),
    openapi_extra=json_request(ReloadBody, {"reason": "the shop has a new service"}) | TOKEN,
)
def reload(caller: MayAdminister, context: Shared, body: Reload) -> JsonObject:
    """Load what lies on the disk now. 409 with every problem when it is broken: then the former one stays in force."""
    return context.control.configuration.reload(caller.actor, body.reason)
