"""Routes of the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from uici.model.base import JsonObject
from uici.service.auth import MayAudit
from uici.service.context import Shared
from uici.service.openapi import TOKEN, problems

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

_MOST = 1000
_HIGHEST = 2**53 - 1


@router.get("", summary="Decisions, oldest first", responses=problems(422), openapi_extra=TOKEN)
def entries(
    caller: MayAudit,
    context: Shared,
    after: Annotated[int, Query(ge=0, le=_HIGHEST, description="only entries after this number")] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="at most so many")] = 100,
) -> JsonObject:
    """Entries of the audit log as `uici audit export` prints them; `next` is the `after` of the following page."""
    return context.control.audit.entries(after, limit)


@router.get("/head", summary="Where the log ends", responses=problems(), openapi_extra=TOKEN)
def head(caller: MayAudit, context: Shared) -> JsonObject:
    """Number and hash of the newest entry: noted elsewhere, it shows later that nothing before it was rewritten."""
    return context.control.audit.head()
