"""Routes about tokens. What a token is, is in the answer that creates it, and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from uici.model.base import JsonObject
from uici.model.durations import duration_of
from uici.service.auth import MayAdminister
from uici.service.body import body_of
from uici.service.context import Shared
from uici.service.openapi import TOKEN, json_answer, json_request, problems
from uici.service.requests import RevokeBody, RotateBody, TokenBody

router = APIRouter(prefix="/api/v1", tags=["tokens"])

Wanted = Annotated[TokenBody, Depends(body_of(TokenBody))]
Rotation = Annotated[RotateBody, Depends(body_of(RotateBody, optional=True))]

Revocation = Annotated[RevokeBody, Depends(body_of(RevokeBody, optional=True))]

_INFO: Final[JsonObject] = {
    "id": "4f5e6d7c8b9a",
    "name": "shop team",
    "role": "operator",
    "created_at": "2026-01-02T03:04:05Z",
    "expires_at": "2026-04-02T03:04:05Z",
    "revoked_at": None,
    "scope": {"environments": ["production"], "targets": ["shop-*"], "highest_risk": "medium"},
    "replaces": None,
}
_CREATED: Final[JsonObject] = {"token": "uici_4f5e6d7c8b9a_…", "info": _INFO}


@router.get(
    "/tokens",
    summary="All tokens, never what they are",
    responses=json_answer(200, "Oldest first.", {"tokens": [_INFO]}) | problems(),
    openapi_extra=TOKEN,
)
def show(caller: MayAdminister, context: Shared) -> JsonObject:
    """Whose they are, what they may do and where, and when they end."""
    return {"tokens": [info.model_dump(mode="json") for info in context.control.tokens.list()]}


@router.post(
    "/tokens",
    status_code=201,
    summary="Create a token",
    responses=json_answer(201, "The token, which cannot be shown again.", _CREATED) | problems(400, 413, 422),
    openapi_extra=json_request(
        TokenBody,
        {"role": "alertmanager", "name": "alertmanager of the shop", "expires_in": "90d"},
        {"role": "operator", "name": "shop team", "scope": {"environments": ["production"], "targets": ["shop-*"]}},
    )
    | TOKEN,
)
def create(caller: MayAdminister, context: Shared, body: Wanted) -> JSONResponse:
    """Tokens of one name count as one person's: who asked for something destructive cannot approve it by another."""
    lifetime = duration_of(body.expires_in, "/expires_in", least=1) if body.expires_in is not None else None
    expires = datetime.now(UTC) + lifetime if lifetime is not None else None
    token, info = context.control.tokens.create_shown(body.role, body.name, expires, body.scope, by=caller.actor)
    return JSONResponse({"token": token, "info": info.model_dump(mode="json")}, status_code=201)


@router.post(
    "/tokens/{token_id}:rotate",
    status_code=201,
    summary="Create a token that follows another",
    responses=json_answer(201, "The new token, which cannot be shown again.", {**_CREATED, "former": _INFO})
    | problems(400, 404, 409, 413, 422),
    openapi_extra=json_request(RotateBody, {"overlap": "24h"}) | TOKEN,
)
def rotate(token_id: str, caller: MayAdminister, context: Shared, body: Rotation) -> JSONResponse:
    """Same name, role and scope. The old one goes on for the overlap, so that whoever uses it can be changed over."""
    lifetime = duration_of(body.expires_in, "/expires_in", least=1) if body.expires_in is not None else None
    rotated = context.control.tokens.rotate(token_id, duration_of(body.overlap, "/overlap"), lifetime, by=caller.actor)
    return JSONResponse(rotated.model_dump(mode="json"), status_code=201)


@router.post(
    "/tokens/{token_id}:revoke",
    summary="Revoke a token for ever",
    responses=json_answer(200, "What it was.", _INFO) | problems(400, 404, 413, 422),
    openapi_extra=json_request(RevokeBody, {"reason": "it was in a log"}) | TOKEN,
)
def revoke(token_id: str, caller: MayAdminister, context: Shared, body: Revocation) -> JsonObject:
    """Counts at once on the replica that is asked, and on every other within two seconds."""
    return context.control.tokens.revoke(token_id, by=caller.actor, reason=body.reason).model_dump(mode="json")
