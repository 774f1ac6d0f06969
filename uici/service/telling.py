"""Routes about what people are told."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from uici.model.base import JsonObject
from uici.service.auth import MayAdminister, MayStartAll, MayViewAll
from uici.service.body import body_of
from uici.service.context import Shared
from uici.service.openapi import TOKEN, json_request, problems
from uici.service.requests import ChannelBody, RetryBody

router = APIRouter(prefix="/api/v1", tags=["notifications"])

Chosen = Annotated[ChannelBody, Depends(body_of(ChannelBody, optional=True))]
Retry = Annotated[RetryBody, Depends(body_of(RetryBody))]


@router.get("/notifications", summary="Messages to people", responses=problems(422), openapi_extra=TOKEN)
def status(
    caller: MayViewAll,
    context: Shared,
    limit: Annotated[int, Query(ge=1, le=500, description="at most so many messages of each state")] = 100,
) -> JsonObject:
    """The channels with their counts, the windows that are open, and the messages that are dead, held or pending."""
    return context.control.notifications.status(limit)


@router.post(
    "/notifications:test",
    summary="Send a test message",
    responses=problems(400, 404, 413, 422),
    openapi_extra=json_request(ChannelBody, {"channel": "on-call"}, {}) | TOKEN,
)
def send_test(caller: MayAdminister, context: Shared, body: Chosen) -> JsonObject:
    """Send a message that wants nothing, at once; says of each channel whether its receiver accepted, or why not."""
    return context.control.notifications.test(body.channel, caller.actor)


@router.post(
    "/notifications:retry",
    summary="Try dead messages again",
    responses=problems(400, 404, 409, 413, 422),
    openapi_extra=json_request(RetryBody, {"ids": [7]}, {"all_dead": True}) | TOKEN,
)
def retry(caller: MayStartAll, context: Shared, body: Retry) -> JsonObject:
    """Have messages tried again that were given up. Who asked for it is recorded."""
    return context.control.notifications.retry(body.ids, caller.actor)
