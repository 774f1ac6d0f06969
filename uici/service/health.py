"""How UICI itself is."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from uici.model.base import JsonObject
from uici.service.auth import MayViewAll
from uici.service.context import Shared
from uici.service.openapi import TOKEN, Responses, json_answer, problems

router = APIRouter(tags=["system"])

_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/healthz", summary="Whether the process answers", openapi_extra={"security": []})
async def healthy() -> JsonObject:
    """Liveness; needs no token and asks nobody."""
    return {"ok": True}


@router.get(
    "/readyz",
    summary="Whether alerts are accepted",
    responses=json_answer(503, "Not ready; `checks` says why.", {"ok": False, "checks": []}),
    openapi_extra={"security": []},
)
def ready(context: Shared) -> JSONResponse:
    """Readiness; needs no token."""
    report = context.control.ready()
    return JSONResponse(report, status_code=200 if report["ok"] else 503)


@router.get(
    "/metrics",
    summary="Metrics in Prometheus' text format",
    responses=_TEXT | problems(),
    openapi_extra=TOKEN,
    response_class=Response,
)
def metrics(caller: MayViewAll, context: Shared) -> Response:
    """Needs a token with the permission `view`; Prometheus sends one by `authorization`."""
    return Response(context.control.metrics(), media_type=CONTENT_TYPE_LATEST)
