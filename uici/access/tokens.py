"""Bearer tokens: created once, stored as a hash, refused when expired or revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from uici.access.roles import Principal, Role
from uici.audit.chain import record
from uici.audit.entries import Entry
from uici.model.base import Frozen
from uici.model.errors import Problem, ProblemKind
from uici.model.scope import EVERYTHING, Scope
from uici.store.database import Store
from uici.store.schema import tokens

_SECRET_BYTES = 32
_FORM = re.compile(r"uici_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_CACHE_ENTRIES = 1024
CONSOLE = "command line"
"""Who acts, as the audit log has it, where it is whoever has the state itself."""
_NOBODY = hashlib.sha256(b"").hexdigest()


class TokenInfo(Frozen):
    """What may be shown of a token."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    scope: Scope = EVERYTHING
    replaces: str | None = None
    """The token that this one was made to follow."""


class Rotated(Frozen):
    """What came of a rotation."""

    token: str
    """The new one; it cannot be shown again."""
    info: TokenInfo
    former: TokenInfo
    """The old one, which ends at its `expires_at`, or at once where it is revoked."""


class _Known(Frozen):
    principal: Principal
    until: float
    """On the monotonic clock: after this the database is asked again."""
    expires_at: datetime | None


def _utc_now() -> datetime:
    return datetime.now(UTC)


class TokenStore:
    """The tokens in the state database; safe to use from several threads.

    A token holds 256 random bits, so its SHA-256 cannot be guessed back from the stored hash; a slow password
    hash would add nothing but latency to each request.

    Valid tokens are remembered for `cache_seconds`. A revocation in this process counts at once, one made by
    another process (`uici token revoke`) at the latest after that time; expiry is looked at on every call.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime] = _utc_now, cache_seconds: float = 2.0) -> None:
        self._store = store
        self._now = now
        self._cache_seconds = cache_seconds
        self._cache: dict[str, _Known] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def create(
        self,
        role: Role,
        name: str = "",
        expires: datetime | None = None,
        scope: Scope = EVERYTHING,
        *,
        by: str = CONSOLE,
    ) -> str:
        """Create a token and return it; it cannot be shown again. `by` is who creates it, for the audit log.

        `name` says whose it is and defaults to the role; tokens of one name count as one person's. Raises Problem for
        a name of more than 64 characters or with control characters, and for an expiry that is over.
        """
        return self.create_shown(role, name, expires, scope, by=by)[0]

    def create_shown(
        self,
        role: Role,
        name: str = "",
        expires: datetime | None = None,
        scope: Scope = EVERYTHING,
        *,
        by: str = CONSOLE,
    ) -> tuple[str, TokenInfo]:
        """As `create`, with what may be shown of it."""
        name = name or role.value
        if not _NAME.fullmatch(name):
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "invalid_token_name",
                "a token's name has 1 to 64 characters and no control characters",
                where="name",
            )
        now = self._now()
        if expires is not None and expires <= now:
            raise Problem(
                ProblemKind.UNPROCESSABLE,
                "token_already_expired",
                "the token would be expired from the beginning",
                where="expires",
                hint="give a time in the future",
            )
        info = TokenInfo(
            id=secrets.token_hex(6),
            name=name,
            role=role,
            created_at=now,
            expires_at=expires,
            revoked_at=None,
            scope=scope,
        )
        with self._store.write() as connection:
            token = _insert(connection, info)
            record(connection, _entry(now, "token_created", by, info))
        return token, info

    def rotate(self, id_: str, overlap: timedelta, lifetime: timedelta | None = None, *, by: str = CONSOLE) -> Rotated:
        """Create a token of the same name, role and scope; the old one ends after `overlap`, or at once when it is 0.

        The new one lives for `lifetime`, by default as long as the old one was made for. Raises Problem for a token
        that there is not, or that is over.
        """
        now = self._now()
        with self._store.write() as connection:
            row = connection.execute(select(tokens).where(tokens.c.id == id_)).one_or_none()
            if row is None:
                raise _unknown(id_)
            former = _info(row)
            if former.revoked_at is not None or (former.expires_at is not None and former.expires_at <= now):
                raise Problem(
                    ProblemKind.CONFLICT,
                    "token_is_over",
                    f"the token {id_} is {'revoked' if former.revoked_at is not None else 'expired'} already",
                    where="id",
                    hint="create a new one: uici token create",
                )
            if lifetime is None and former.expires_at is not None:
                lifetime = former.expires_at - former.created_at
            info = former.model_copy(
                update={
                    "id": secrets.token_hex(6),
                    "created_at": now,
                    "expires_at": now + lifetime if lifetime is not None else None,
                    "replaces": former.id,
                }
            )
            token = _insert(connection, info)
            ends = min(now + overlap, former.expires_at or now + overlap)
            ended: dict[str, datetime] = {"expires_at": ends} if overlap else {"revoked_at": now}
            connection.execute(tokens.update().where(tokens.c.id == id_).values(**ended))
            former = former.model_copy(update=ended)
            record(
                connection,
                _entry(now, "token_rotated", by, info, former_ends=str(former.revoked_at or former.expires_at)),
            )
        self._forget()
        return Rotated(token=token, info=info, former=former)

    def cached(self, token: str) -> Principal | None:
        """The token's principal when it was authenticated a moment ago; None means: ask `authenticate`. No I/O."""
        known = self._cache.get(_hash(token))
        if known is None or time.monotonic() >= known.until:
            return None
        return known.principal if known.expires_at is None or known.expires_at > self._now() else None

    def authenticate(self, token: str) -> Principal | None:
        """Whose token this is; None when it is malformed, unknown, expired or revoked. May read the database."""
        principal = self.cached(token)
        if principal is not None:
            return principal
        form = _FORM.fullmatch(token)
        if form is None:
            return None
        given = _hash(token)
        generation = self._generation
        with self._store.read() as connection:
            row = connection.execute(select(tokens).where(tokens.c.id == form["id"])).one_or_none()
        # Compared in constant time, and also when there is no such id, so that ids cannot be told from timing.
        matches = hmac.compare_digest(given, row.hash if row is not None else _NOBODY)
        if row is None or not matches or row.revoked_at is not None:
            return None
        if row.expires_at is not None and row.expires_at <= self._now():
            return None
        info = _info(row)
        principal = Principal(id=info.id, name=info.name, role=info.role, scope=info.scope)
        known = _Known(principal=principal, until=time.monotonic() + self._cache_seconds, expires_at=info.expires_at)
        with self._lock:
            # A revocation that came between our reading and now must not be forgotten by remembering.
            if generation == self._generation:
                if len(self._cache) >= _CACHE_ENTRIES:
                    self._cache.clear()
                self._cache[given] = known
        return principal

    def list(self) -> tuple[TokenInfo, ...]:
        """All tokens, oldest first, without anything secret."""
        with self._store.read() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_at)).all()
        return tuple(_info(row) for row in rows)

    def revoke(self, id_: str, *, by: str = CONSOLE, reason: str = "") -> TokenInfo:
        """Revoke a token for ever; revoking it again changes nothing. Raises Problem when there is no such token."""
        now = self._now()
        with self._store.write() as connection:
            row = connection.execute(select(tokens).where(tokens.c.id == id_)).one_or_none()
            if row is None:
                raise _unknown(id_)
            info = _info(row)
            if info.revoked_at is None:
                info = info.model_copy(update={"revoked_at": now})
                connection.execute(tokens.update().where(tokens.c.id == id_).values(revoked_at=now))
                record(connection, _entry(now, "token_revoked", by, info, reason=reason))
        self._forget()
        return info

    def _forget(self) -> None:
        with self._lock:
            self._generation += 1
            self._cache.clear()


def _insert(connection: Connection, info: TokenInfo) -> str:
    token = f"uici_{info.id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    connection.execute(
        tokens.insert().values(
            id=info.id,
            name=info.name,
            role=info.role.value,
            hash=_hash(token),
            created_at=info.created_at,
            expires_at=info.expires_at,
            scope=None if info.scope == EVERYTHING else info.scope.model_dump(mode="json"),
            replaces=info.replaces,
        )
    )
    return token


def _entry(at: datetime, kind: str, by: str, info: TokenInfo, **more: object) -> Entry:
    told = info.model_dump(mode="json", exclude={"created_at", "revoked_at"})
    return Entry(at=at, kind=kind, actor=by, data=told | more)


def _info(row: Row[Any]) -> TokenInfo:
    return TokenInfo(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        scope=EVERYTHING if row.scope is None else Scope.model_validate(row.scope),
        replaces=row.replaces,
    )


def _unknown(id_: str) -> Problem:
    return Problem(
        ProblemKind.NOT_FOUND,
        "unknown_token",
        f"there is no token with the id {id_!r}",
        where="id",
        hint="uici token list shows the ids; the id is the part between the underscores, uici_<id>_...",
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
