"""Everything by which somebody may show who they are, and how often they may ask."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

import structlog
from anyio import CapacityLimiter, WouldBlock, to_thread
from fastapi import Request

from uici.access.certificates import principal_of
from uici.access.rates import Rates
from uici.access.roles import Principal
from uici.access.signatures import Signatures
from uici.connections.bounding import PEER_CERTIFICATE
from uici.model.credentials import AccessSettings, IssuerSettings
from uici.model.errors import Problem, ProblemKind
from uici.model.settings import IntakeSettings
from uici.service.body import read_body
from uici.service.bounded import looked_up
from uici.service.callers import Caller
from uici.service.problems import WEBHOOK_PATH

if TYPE_CHECKING:
    from uici.access.oidc import Issuers
    from uici.runs.control import Control

_ISSUER_THREADS = 4
_BEARER, _BASIC = "Bearer", "Basic"
_log = structlog.get_logger(__name__)


class Gate:
    """Says who is calling. Raises Problem for a secret that the configuration refers to and is not there."""

    def __init__(
        self, control: Control, settings: AccessSettings, intake: IntakeSettings, threads: CapacityLimiter
    ) -> None:
        self._tokens = control.tokens
        self._certificates = settings.certificates
        self._basic_user = intake.basic_auth_user
        self._seconds = intake.commit_seconds
        self._issuers = _issuers_of(settings.issuers)
        self._signatures = Signatures(settings.signatures, control.now)
        self._rates = Rates(settings.rates)
        self._threads = threads
        # An issuer that does not answer keeps nobody waiting who has a token of ours.
        self._issuer_threads = CapacityLimiter(_ISSUER_THREADS)
        self._signed_bodies = CapacityLimiter(settings.signatures.at_once)

    async def identify(self, request: Request) -> Caller:
        """Who is calling. Raises Problem for nobody known, and for somebody who asks too often."""
        webhook = request.url.path == WEBHOOK_PATH
        try:
            caller = await self._shown(request, webhook)
        except Problem as problem:
            if problem.kind is ProblemKind.UNAUTHENTICATED:
                client = request.client.host if request.client else ""
                _log.warning("authentication_failed", path=request.url.path, client=client, code=problem.code)
                if (wait := self._rates.wrong(client)) is not None:
                    raise _too_often("too_many_wrong", "too many wrong credentials from here", wait, webhook) from None
            raise
        request.state.actor = caller.actor
        if (wait := self._rates.request(caller.principal.id, webhook=webhook)) is not None:
            raise _too_often("too_many_requests", f"{caller.actor} asks too often", wait, webhook)
        return caller

    async def _shown(self, request: Request, webhook: bool) -> Caller:
        header = request.headers.get("authorization")
        if header is not None:
            return await self._authorized(header, webhook)
        if webhook and (signed := self._signatures.head(request.headers)) is not None:
            try:
                self._signed_bodies.acquire_on_behalf_of_nowait(request)
            except WouldBlock:
                raise _too_often("too_many_bodies", "too many signed bodies are being read", 1, webhook) from None
            try:
                body = await read_body(request, self._signatures.settings.most_bytes)
            finally:
                self._signed_bodies.release_on_behalf_of(request)
            request.state.body = body
            return Caller(self._signatures.sender(signed, body), _as_long_as_it_lasts)
        certificate = getattr(request.state, PEER_CERTIFICATE, None)
        if certificate is not None:
            # A browser shows a certificate by itself, whatever page makes it ask; none of those pages is ours.
            if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none":
                raise _unauthenticated("foreign_page", "a certificate does not count for requests of a page", webhook)
            principal = principal_of(certificate, self._certificates)
            if principal is not None:
                return Caller(principal, _as_long_as_it_lasts)
            raise _unauthenticated("unknown_certificate", "no rule gives this client certificate a role", webhook)
        raise _unauthenticated("no_token", "this needs a token", webhook)

    async def _authorized(self, header: str, webhook: bool) -> Caller:
        scheme, _, value = header.partition(" ")
        value = value.strip()
        if scheme.lower() == "bearer" and value:
            if self._issuers is not None and self._issuers.concerns(value):
                return await self._of_issuer(self._issuers, value)
            return await self._of_token(value, webhook)
        if scheme.lower() == "basic" and webhook:
            user, token = _user_and_password(value)
            caller = await self._of_token(token, webhook)
            # The same answer as for a wrong password: which half was wrong is nobody's business.
            if not self._is_called(caller.principal, user):
                raise _unauthenticated("invalid_token", "the user or the token is wrong", webhook)
            return caller
        raise _unauthenticated("unsupported_authorization", "the Authorization header is not understood", webhook)

    async def _of_token(self, token: str, webhook: bool) -> Caller:
        tokens = self._tokens
        principal = tokens.cached(token) or await looked_up(
            tokens.authenticate, token, threads=self._threads, seconds=self._seconds
        )
        if principal is None:
            raise _unauthenticated("invalid_token", "the token is unknown, expired or revoked", webhook)
        return Caller(principal, lambda: tokens.authenticate(token) is not None)

    async def _of_issuer(self, issuers: Issuers, token: str) -> Caller:
        known = issuers.cached(token)
        principal = (
            known
            if known is not None
            else await to_thread.run_sync(issuers.authenticate, token, limiter=self._issuer_threads)
        )

        def still_valid() -> bool:
            try:
                return issuers.authenticate(token) == principal
            except Problem:
                return False

        return Caller(principal, still_valid)

    def _is_called(self, principal: Principal, user: str) -> bool:
        names = (principal.id, principal.name, self._basic_user)
        return any([hmac.compare_digest(name.encode(), user.encode()) for name in names])


def _issuers_of(settings: tuple[IssuerSettings, ...]) -> Issuers | None:
    if not settings:
        return None
    from uici.access.oidc import Issuers  # here, because the cryptography behind it takes long to load

    return Issuers(settings)


def _as_long_as_it_lasts() -> bool:
    return True


def _user_and_password(value: str) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _unauthenticated("malformed_basic", "the basic credentials are not base64 of UTF-8", True) from None
    if not colon:
        raise _unauthenticated("malformed_basic", "the basic credentials are not USER:PASSWORD", True)
    return user, password


def _unauthenticated(code: str, detail: str, webhook: bool) -> Problem:
    return Problem(
        ProblemKind.UNAUTHENTICATED,
        code,
        detail,
        where="header Authorization",
        allowed=(_BEARER, _BASIC) if webhook else (_BEARER,),
        hint="send `Authorization: Bearer TOKEN`; uici token list shows the valid ones, uici token create makes one",
    )


def _too_often(code: str, detail: str, wait: int, webhook: bool) -> Problem:
    # Alertmanager sends again after 5xx only.
    return Problem(
        ProblemKind.UNAVAILABLE if webhook else ProblemKind.TOO_MANY,
        code,
        f"{detail}; try again in {wait} s",
        where="platform.yml: access.rates",
        hint="ask less often, or raise the limit",
        retry_seconds=wait,
    )
