"""Routes of the learning: what was learned, people's words on runs, vetoes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from uici.model.base import JsonObject
from uici.service.auth import MayApprove, MayFreeze, MayViewAll
from uici.service.body import body_of
from uici.service.context import Shared
from uici.service.openapi import TOKEN, json_request, problems
from uici.service.requests import FeedbackBody, LiftBody, VetoBody

router = APIRouter(prefix="/api/v1", tags=["learning"])

Feedback = Annotated[FeedbackBody, Depends(body_of(FeedbackBody))]
Veto = Annotated[VetoBody, Depends(body_of(VetoBody))]
Lift = Annotated[LiftBody, Depends(body_of(LiftBody, optional=True))]
Strategy = Annotated[str | None, Query(max_length=253, description="only this strategy")]
Finding = Annotated[str | None, Query(max_length=4000, description="only this finding set: names joined by `+`")]
Limit = Annotated[int, Query(ge=1, le=2000, description="look at so many choices, the newest")]


@router.get("/learning", summary="What was learned", responses=problems(422), openapi_extra=TOKEN)
def table(caller: MayViewAll, context: Shared, strategy: Strategy = None, findings: Finding = None) -> JsonObject:
    """What is believed of each remedy under each finding set, why, and the vetoes in force."""
    names = [name for name in (findings or "").split("+") if name]
    return context.control.learning.table(strategy, names)


@router.get(
    "/learning/comparison",
    summary="Which policy would have done best",
    responses=problems(422),
    openapi_extra=TOKEN,
)
def comparison(caller: MayViewAll, context: Shared, strategy: Strategy = None, limit: Limit = 500) -> JsonObject:
    """Off-policy estimates from the choices that were made here: IPS and SNIPS, with intervals."""
    return context.control.learning.comparison(strategy, limit)


@router.post(
    "/runs/{run_id}/feedback",
    summary="Say whether a run's remedy was good",
    responses=problems(400, 404, 409, 413, 422),
    openapi_extra=json_request(FeedbackBody, {"good": False, "comment": "it lost the queue"}) | TOKEN,
)
def feedback(run_id: str, caller: MayApprove, context: Shared, body: Feedback) -> JsonObject:
    """One word for each person and run; saying it again replaces it. Refused where the run changed nothing."""
    caller.at_run(context.control, run_id)
    return context.control.learning.feedback(run_id, body.good, body.comment, caller.actor)


@router.post(
    "/learning/vetoes",
    summary="Forbid a remedy",
    responses=problems(400, 409, 413, 422),
    openapi_extra=json_request(
        VetoBody,
        {"strategy": "service_down", "remedy": "restart", "target": "shop", "reason": "it loses the queue"},
    )
    | TOKEN,
)
def veto(caller: MayFreeze, context: Shared, body: Veto) -> JsonObject:
    """No rule takes the remedy until somebody lifts the veto. A person's own plan is not bound by it."""
    caller.at((body.environment, body.target))
    return context.control.learning.veto(
        body.strategy, body.remedy, body.environment, body.target, body.reason, caller.actor
    )


@router.post(
    "/learning/vetoes/{veto_id}:lift",
    summary="Allow a remedy again",
    responses=problems(400, 404, 409, 422),
    openapi_extra=json_request(LiftBody, {"reason": "the queue is on disk now"}) | TOKEN,
)
def lift(veto_id: str, caller: MayFreeze, context: Shared, body: Lift) -> JsonObject:
    """End a veto. Who did is recorded."""
    return context.control.learning.lift(veto_id, body.reason, caller.actor, caller.scope)
