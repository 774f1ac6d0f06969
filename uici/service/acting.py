"""Routes that ask UICI to do something, or what it would do."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from uici.model.base import JsonObject
from uici.service.auth import MayApprove, MayFreeze, MayFreezeAll, MayPreview, MayStart, MayView
from uici.service.body import body_of, read_json_object, validated
from uici.service.context import Shared
from uici.service.openapi import CID, NOTIFICATION, PLAN, PREVIEWS, TOKEN, json_answer, json_request, problems
from uici.service.requests import CancelBody, DecisionBody, FreezeBody, LiftBody, PreviewBody, StartBody

router = APIRouter(prefix="/api/v1")

AnyObject = Annotated[JsonObject, Depends(read_json_object)]
Start = Annotated[StartBody, Depends(body_of(StartBody))]
Decision = Annotated[DecisionBody, Depends(body_of(DecisionBody))]
Cancel = Annotated[CancelBody, Depends(body_of(CancelBody, optional=True))]
Freeze = Annotated[FreezeBody, Depends(body_of(FreezeBody, optional=True))]
Lift = Annotated[LiftBody, Depends(body_of(LiftBody, optional=True))]

_DECISION = json_request(DecisionBody, {"cid": CID, "comment": "seen on the dashboard, go ahead"}) | TOKEN


@router.post(
    "/plans:preview",
    tags=["runs"],
    summary="What would be done",
    responses=json_answer(200, "One preview for each target; `rehearsal` is the platform's own answer.", PREVIEWS)
    | problems(400, 404, 413, 422),
    openapi_extra=json_request(PreviewBody, {"plan": PLAN}, {"incident": "inc_01"}, NOTIFICATION) | TOKEN,
)
def preview(
    caller: MayPreview,
    context: Shared,
    document: AnyObject,
    environment: Annotated[str | None, Query(max_length=253, description="preview for this environment")] = None,
) -> JsonObject:
    """The exact calls, the risk, each guard's decision, the `cid` and what undo would do. Changes nothing.

    A call that changes something has a `rehearsal` where the platform knows dry runs: `answer` (accepted, refused, or
    unknown with the `reason`), and the `changes` of its objects. It is null for all other calls.

    The body is an Alertmanager payload as it is, or an object with `incident` or `plan`.
    """
    if "alerts" in document:
        # The sender's format, in which unknown fields are accepted; its parser refuses what it must.
        return context.control.preview(document, environment, caller.scope)
    body = validated(PreviewBody, document)
    wanted = body.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"environment"})
    return context.control.preview(wanted, body.environment or environment, caller.scope)


@router.post(
    "/runs",
    status_code=202,
    tags=["runs"],
    summary="Start a run from a plan",
    responses=json_answer(202, "Accepted; `Location` is the run.", {"id": "run_01", "state": "waiting"})
    | problems(400, 409, 413, 422),
    openapi_extra=json_request(StartBody, {"plan": PLAN, "reason": "asked for by the shop team"}) | TOKEN,
)
def start(caller: MayStart, context: Shared, body: Start) -> JSONResponse:
    """Run a plan. The guards judge it as they judge any other; see the run for their answers."""
    document = body.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    run = context.control.start(document, caller.actor, caller.scope)
    return JSONResponse(run, status_code=202, headers={"Location": f"/api/v1/runs/{quote(str(run['id']), safe='')}"})


@router.post(
    "/runs/{run_id}:approve",
    tags=["runs"],
    summary="Allow a run that waits",
    responses=problems(400, 404, 409, 422),
    openapi_extra=_DECISION,
)
def approve(run_id: str, caller: MayApprove, context: Shared, body: Decision) -> JsonObject:
    """Allow what was previewed under this `cid`, and nothing else. Who did is recorded.

    A destructive plan is allowed by another person than who asked for it.
    """
    caller.at_run(context.control, run_id)
    return context.control.approve(run_id, body.cid, caller.actor, body.comment, caller.scope)


@router.post(
    "/runs/{run_id}:reject",
    tags=["runs"],
    summary="Refuse a run that waits",
    responses=problems(400, 404, 409, 422),
    openapi_extra=_DECISION,
)
def reject(run_id: str, caller: MayApprove, context: Shared, body: Decision) -> JsonObject:
    """Refuse what was previewed under this `cid`. Who did is recorded."""
    caller.at_run(context.control, run_id)
    return context.control.reject(run_id, body.cid, caller.actor, body.comment)


@router.post(
    "/runs/{run_id}:cancel",
    tags=["runs"],
    summary="Stop a run",
    responses=problems(400, 404, 409, 422),
    openapi_extra=json_request(CancelBody, {"reason": "the deployment is being repeated"}) | TOKEN,
)
def cancel(run_id: str, caller: MayStart, context: Shared, body: Cancel) -> JsonObject:
    """Ask a run to stop between two steps; a call that was sent is not taken back."""
    caller.at_run(context.control, run_id)
    return context.control.cancel(run_id, caller.actor, body.reason)


@router.get("/freeze", tags=["brake"], summary="Whether all is frozen", responses=problems(), openapi_extra=TOKEN)
def freeze_state(caller: MayView, context: Shared) -> JsonObject:
    """Whether anything new may start, and who decided so."""
    return context.control.freeze_state()


@router.post(
    "/freeze",
    tags=["brake"],
    summary="Stop everything new, or allow it again",
    responses=problems(400, 422),
    openapi_extra=json_request(FreezeBody, {"frozen": True, "reason": "network maintenance"}, {"frozen": False})
    | TOKEN,
)
def freeze(caller: MayFreeze, context: Shared, body: Freeze) -> JsonObject:
    """One call stops all: nothing that changes anything starts until it is called with `frozen: false`.

    With `environment` or `target` (patterns) only that. A caller with a limited scope stops what is within it.
    """
    return context.control.freezes.set(
        body.frozen, caller.actor, body.reason, caller.scope, body.environment, body.target
    )


@router.get(
    "/brakes",
    tags=["brake"],
    summary="Where a mass failure has stopped UICI",
    responses=problems(),
    openapi_extra=TOKEN,
)
def brakes(caller: MayView, context: Shared) -> JsonObject:
    """The environments in which UICI acts only on a person's word, because much of them fails at once."""
    found = context.control.brakes()["brakes"]
    return {"brakes": [each for each in found if caller.scope.enters(each["environment"])]}


@router.post(
    "/brakes/{environment}:lift",
    tags=["brake"],
    summary="Let UICI act by itself again after a mass failure",
    responses=problems(400, 409, 422),
    openapi_extra=json_request(LiftBody, {"reason": "the switch is back"}) | TOKEN,
)
def lift_brake(environment: str, caller: MayFreezeAll, context: Shared, body: Lift) -> JsonObject:
    """What waits because of the mass failure goes on. The brake is not put on again within the policy's window."""
    return context.control.lift_brake(environment, caller.actor, body.reason)
