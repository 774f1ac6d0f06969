"""Who is calling: a bearer token, or on the webhook basic authentication with the token as password."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from anyio import to_thread
from fastapi import Depends, Request

from uici.access.reach import require_everywhere
from uici.access.roles import Permission, roles_with
from uici.model.errors import Problem, ProblemKind
from uici.service.callers import Caller
from uici.service.context import Context, Shared

_log = structlog.get_logger(__name__)


def requires(
    permission: Permission, *, basic: bool = False, whole: bool = False
) -> Callable[[Request, Context], Awaitable[Caller]]:
    """A dependency that yields the caller, or refuses with 401 or 403 before the body is looked at.

    With `whole` only callers whose scope has no limits are let in: for what is about the whole installation.
    """

    async def caller(request: Request, context: Shared) -> Caller:
        token = _token(request.headers.get("authorization"), context.intake.basic_auth_user if basic else None)
        tokens = context.control.tokens
        principal = tokens.cached(token) or await to_thread.run_sync(
            tokens.authenticate, token, limiter=context.webhook_threads
        )
        if principal is None:
            _log.warning("authentication_failed", path=request.url.path, client=_client(request))
            raise Problem(
                ProblemKind.UNAUTHENTICATED,
                "invalid_token",
                "the token is unknown, expired or revoked",
                where="header Authorization",
                hint="uici token list shows the valid tokens; uici token create makes a new one",
            )
        request.state.actor = principal.actor
        if not principal.may(permission):
            _log.warning("permission_denied", path=request.url.path, actor=principal.actor, permission=permission.value)
            raise Problem(
                ProblemKind.FORBIDDEN,
                "permission_missing",
                f"the role {principal.role.value} lacks the permission {permission.value}",
                where="header Authorization",
                allowed=[role.value for role in roles_with(permission)],
                hint="use a token with one of the allowed roles",
            )
        if whole:
            require_everywhere(principal.scope)
        return Caller(principal, lambda: tokens.authenticate(token) is not None)

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


def _token(header: str | None, basic_user: str | None) -> str:
    """The token in an Authorization header. Raises Problem when there is none."""
    schemes = ("Bearer",) if basic_user is None else ("Bearer", "Basic")
    if not header:
        raise _unauthenticated("no_token", "this needs a token", schemes)
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic" and basic_user is not None:
        return _password(value, basic_user, schemes)
    raise _unauthenticated("unsupported_authorization", "the Authorization header is not understood", schemes)


def _password(value: str, user: str, schemes: tuple[str, ...]) -> str:
    try:
        given, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _unauthenticated("malformed_basic", "the basic credentials are not base64 of UTF-8", schemes) from None
    if not colon or not hmac.compare_digest(given.encode(), user.encode()):
        # The same answer as for a wrong password: which half was wrong is nobody's business.
        raise _unauthenticated("invalid_token", "the user or the token is wrong", schemes)
    return password


def _unauthenticated(code: str, detail: str, schemes: tuple[str, ...]) -> Problem:
    return Problem(
        ProblemKind.UNAUTHENTICATED,
        code,
        detail,
        where="header Authorization",
        allowed=schemes,
        hint="send `Authorization: Bearer TOKEN`; uici token create --role ROLE makes one",
    )


def _client(request: Request) -> str:
    return request.client.host if request.client else ""
