"""Which permission a route needs: its dependency, and the answer to who lacks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Depends, Request

from uici.access.reach import require_everywhere
from uici.access.roles import Permission, roles_with
from uici.model.errors import Problem, ProblemKind
from uici.service.callers import Caller
from uici.service.context import Context, Shared

_log = structlog.get_logger(__name__)


def requires(permission: Permission, *, whole: bool = False) -> Callable[[Request, Context], Awaitable[Caller]]:
    """A dependency that yields the caller, or refuses with 401 or 403 before the body is looked at.

    With `whole` only callers whose scope has no limits are let in: for what is about the whole installation.
    """

    async def caller(request: Request, context: Shared) -> Caller:
        found = await context.gate.identify(request)
        if not found.principal.may(permission):
            role = found.principal.role.value
            _log.warning("permission_denied", path=request.url.path, actor=found.actor, permission=permission.value)
            raise Problem(
                ProblemKind.FORBIDDEN,
                "permission_missing",
                f"the role {role} lacks the permission {permission.value}",
                where="header Authorization",
                allowed=[role.value for role in roles_with(permission)],
                hint="use a credential with one of the allowed roles",
            )
        if whole:
            require_everywhere(found.scope)
        return found

    return caller


MayView = Annotated[Caller, Depends(requires(Permission.VIEW))]
MayViewAll = Annotated[Caller, Depends(requires(Permission.VIEW, whole=True))]
MayPreview = Annotated[Caller, Depends(requires(Permission.PREVIEW))]
MayStart = Annotated[Caller, Depends(requires(Permission.START))]
MayStartAll = Annotated[Caller, Depends(requires(Permission.START, whole=True))]
MayFreeze = Annotated[Caller, Depends(requires(Permission.FREEZE))]
MayFreezeAll = Annotated[Caller, Depends(requires(Permission.FREEZE, whole=True))]
MayApprove = Annotated[Caller, Depends(requires(Permission.APPROVE))]
MayAdminister = Annotated[Caller, Depends(requires(Permission.ADMINISTER, whole=True))]
MayAudit = Annotated[Caller, Depends(requires(Permission.AUDIT, whole=True))]
