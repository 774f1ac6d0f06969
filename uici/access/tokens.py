"""Bearer tokens: created once, stored as a hash, refused when expired or revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import select

from uici.access.roles import Principal, Role
from uici.model.base import Frozen
from uici.model.errors import Problem, ProblemKind
from uici.store.database import Store
from uici.store.schema import tokens

_SECRET_BYTES = 32
_FORM = re.compile(r"uici_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_CACHE_ENTRIES = 1024
_NOBODY = hashlib.sha256(b"").hexdigest()


class TokenInfo(Frozen):
    """What may be shown of a token."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


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

    def create(self, role: Role, name: str = "", expires: datetime | None = None) -> str:
        """Create a token and return it; it cannot be shown again.

        `name` says whose it is and defaults to the role. Raises Problem for a name of more than 64 characters
        or with control characters, and for an expiry that is over.
        """
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
        id_ = secrets.token_hex(6)
        token = f"uici_{id_}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        with self._store.write() as connection:
            connection.execute(
                tokens.insert().values(
                    id=id_, name=name, role=role.value, hash=_hash(token), created_at=now, expires_at=expires
                )
            )
        return token

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
        principal = Principal(id=row.id, name=row.name, role=Role(row.role))
        known = _Known(principal=principal, until=time.monotonic() + self._cache_seconds, expires_at=row.expires_at)
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
        return tuple(
            TokenInfo(
                id=row.id,
                name=row.name,
                role=Role(row.role),
                created_at=row.created_at,
                expires_at=row.expires_at,
                revoked_at=row.revoked_at,
            )
            for row in rows
        )

    def revoke(self, id_: str) -> TokenInfo:
        """Revoke a token for ever; revoking it again changes nothing. Raises Problem when there is no such token."""
        with self._store.write() as connection:
            connection.execute(
                tokens.update().where(tokens.c.id == id_, tokens.c.revoked_at.is_(None)).values(revoked_at=self._now())
            )
        with self._lock:
            self._generation += 1
            self._cache.clear()
        for info in self.list():
            if info.id == id_:
                return info
        raise Problem(
            ProblemKind.NOT_FOUND,
            "unknown_token",
            f"there is no token with the id {id_!r}",
            where="id",
            hint="uici token list shows the ids; the id is the part between the underscores, uici_<id>_...",
        )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
