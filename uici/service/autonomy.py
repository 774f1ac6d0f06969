"""Routes of the record of what autonomy held back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from uici.model.base import JsonObject
from uici.service.auth import MayView
from uici.service.context import Shared
from uici.service.openapi import TOKEN, problems

router = APIRouter(prefix="/api/v1/autonomy", tags=["autonomy"])

Since = Annotated[str, Query(max_length=40, description="how long back: a whole number and one of s, m, h, d, w")]
Only = Annotated[str | None, Query(max_length=253, description="only this one")]


@router.get(
    "/report",
    summary="What autonomy held back, and what became of it",
    responses=problems(422),
    openapi_extra=TOKEN,
)
def report(
    caller: MayView, context: Shared, since: Since = "7d", target: Only = None, environment: Only = None
) -> JsonObject:
    """Per target: what would have been done, what the other guards said of it, and how the alerts ended without it."""
    return context.control.autonomy.report(since, target, environment, caller.scope)


@router.get(
    "/runs/{run_id}",
    summary="What one observed run would have done",
    responses=problems(404),
    openapi_extra=TOKEN,
)
def observed(run_id: str, caller: MayView, context: Shared) -> JsonObject:
    """The preview as it was then: exact calls and every guard's answer; and what became of the incident."""
    caller.at_run(context.control, run_id)
    return context.control.autonomy.observed(run_id)
